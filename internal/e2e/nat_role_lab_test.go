//go:build lab

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// The NAT lab runs the parts as processes of their own, each in its namespace.
// Such a process is this test binary with roleVar in its environment. It takes
// commands from standard input and answers on standard output, a line of JSON
// each, and ends with its input.
const (
	roleVar   = "LATCHKEY_LAB_ROLE"
	configVar = "LATCHKEY_LAB_CONFIG" // a roleConfig as JSON
)

// A roleConfig is what a process is told at its start.
type roleConfig struct {
	Dir          string
	Basestations []string
	Key          latchkey.Fingerprint // of the basestation
}

var labDevice = latchkey.DeviceID{Product: "acme", Device: "gw1"}

type command struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

type answer struct {
	Error  string `json:"error,omitempty"`
	Result any    `json:"result,omitempty"`
}

func init() {
	role := os.Getenv(roleVar)
	if role == "" {
		return
	}
	if err := play(role); err != nil {
		fmt.Fprintln(os.Stderr, role, "ended:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(role string) error {
	var cfg roleConfig
	if err := json.Unmarshal([]byte(os.Getenv(configVar)), &cfg); err != nil {
		return err
	}
	switch role {
	case "basestation":
		return playBasestation(cfg)
	case "device":
		return playDevice(cfg)
	case "client":
		return playClient(cfg)
	}
	return fmt.Errorf("no role %q", role)
}

func roleLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// obey answers commands with what do returns, until the input ends.
func obey(do func(command) (any, error)) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(answer{Result: "ready"}); err != nil {
		return err
	}
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var c command
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := do(c)
		a := answer{Result: result}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// during serves until the input ends.
func during(serve func(context.Context) error, ready <-chan struct{}, do func(command) (any, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ready:
	}
	err := obey(do)
	cancel()
	return errors.Join(err, <-ended)
}

func playBasestation(cfg roleConfig) error {
	store, err := registry.Open(filepath.Join(cfg.Dir, basestation.RegistryFile))
	if err != nil {
		return err
	}
	defer store.Close()
	ready := make(chan struct{})
	s := &basestation.Server{
		Dir: cfg.Dir, Registry: store, Logger: roleLog(), Limits: basestation.Limits{Drain: time.Millisecond},
		Ready: func(basestation.Info) { close(ready) },
	}
	return during(s.ListenAndServe, ready, func(command) (any, error) { return s.Attached() })
}

func playDevice(cfg roleConfig) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go stamped(c)
		}
	}()
	mux := device.NewMux()
	mux.HandleFunc("POST /stamp", func(w device.ResponseWriter, _ *device.Request) {
		fmt.Fprint(w, time.Now().UnixNano())
	})
	ready := make(chan struct{})
	d := &device.Device{
		Dir: cfg.Dir, ID: labDevice, Basestations: cfg.Basestations, BasestationKey: cfg.Key, NoDiscovery: true,
		Handler: mux, Services: []device.Service{{ID: "echo", Target: "tcp://" + l.Addr().String()}},
		Logger: roleLog(), Ready: func(device.Info) { close(ready) },
	}
	return during(d.ListenAndServe, ready, func(command) (any, error) { return d.Status() })
}

// stamped says when the first byte came, and then sends back what it gets.
func stamped(c net.Conn) {
	defer c.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return
	}
	if _, err := fmt.Fprintf(c, "%d\n", time.Now().UnixNano()); err != nil {
		return
	}
	_, _ = io.Copy(c, c)
}
