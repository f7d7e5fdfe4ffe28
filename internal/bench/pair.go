package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A pair is a device and a client, both in this process, with one session over
// loopback UDP between them.
type pair struct {
	conn  *client.Conn
	stop  context.CancelFunc
	ended chan error // of the device
}

// newPair starts a device with services, NAME=TARGET, pairs a client with it
// and dials. Both keep their files in dir. Whoever makes a pair must close it.
func newPair(ctx context.Context, dir string, services ...string) (*pair, error) {
	ready := make(chan device.Info, 1)
	d := &device.Device{
		Dir: filepath.Join(dir, "device"), Addr: "127.0.0.1:0", Pairing: pairing.LocalInitial, NoDiscovery: true,
		Ready: func(i device.Info) { ready <- i }, Logger: quiet,
	}
	for _, s := range services {
		id, target, _ := strings.Cut(s, "=")
		d.Services = append(d.Services, device.Service{ID: id, Target: target})
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &pair{stop: stop, ended: make(chan error, 1)}
	go func() { p.ended <- d.ListenAndServe(serving) }() // ends with stop
	select {
	case info := <-ready:
		c := &client.Client{Dir: filepath.Join(dir, "client"), NoDiscovery: true, Logger: quiet}
		if err := p.connect(ctx, c, info); err != nil {
			return nil, errors.Join(err, p.close())
		}
		return p, nil
	case err := <-p.ended:
		stop()
		return nil, fmt.Errorf("device did not start: %w", err)
	}
}

func (p *pair) connect(ctx context.Context, c *client.Client, info device.Info) error {
	_, err := c.Pair(ctx, info.PairingURL, client.PairOptions{Alias: alias, User: "bench"})
	if err != nil {
		return err
	}
	p.conn, err = c.Dial(ctx, alias)
	return err
}

// close ends both and waits for them.
func (p *pair) close() error {
	var err error
	if p.conn != nil {
		err = p.conn.Close()
	}
	p.stop()
	return errors.Join(err, <-p.ended)
}
