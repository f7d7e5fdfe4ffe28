package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// Metrics of a basestation.
const (
	metricDevices    = "latchkey_basestation_devices"
	metricGrants     = "latchkey_basestation_relay_grants"
	metricPackets    = "latchkey_basestation_relay_packets_total"
	metricDropped    = "latchkey_basestation_relay_dropped_total"
	metricRefused    = "latchkey_basestation_answers_refused_total"
	metricGoroutines = "go_goroutines"
)

// A station is a basestation: its directory, and the process while it runs.
type station struct {
	bed  *bed
	dir  string
	addr string // of 127.0.0.1, for UDP and TCP
	key  latchkey.Fingerprint
	run  *process
	web  *http.Client
}

// newStation makes a basestation whose registry fill has written. limits is the
// section of that name of its configuration, "" for the defaults. Whoever makes
// a station must close it.
func (b *bed) newStation(ctx context.Context, limits string, fill func(*registry.Store) error) (*station, error) {
	b.sites++
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &station{
		bed: b, dir: filepath.Join(b.dir, "station"+strconv.Itoa(b.sites)),
		addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
	}
	out, err := output(ctx, "", b.program("latchkey-basestation"), "init", "--json", "--dir", s.dir, "--listen", s.addr)
	if err != nil {
		return nil, err
	}
	var made struct{ Fingerprint latchkey.Fingerprint }
	if err := json.Unmarshal(out, &made); err != nil {
		return nil, fmt.Errorf("what init made: %w", err)
	}
	s.key = made.Fingerprint
	apart := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // devices may use up what one source is allowed
	s.web = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext:     apart.DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: s.verify},
	}}
	if limits != "" {
		config := fmt.Sprintf("listen: %q\nlimits: %s\n", s.addr, limits)
		if err := os.WriteFile(filepath.Join(s.dir, "basestation.yaml"), []byte(config), 0o600); err != nil {
			return nil, err
		}
	}
	store, err := registry.Open(filepath.Join(s.dir, "registry.db"))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(store), store.Close()); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// verify knows the basestation by its key.
func (s *station) verify(state tls.ConnectionState) error {
	key, err := latchkey.FingerprintOf(state.PeerCertificates[0].PublicKey) // a server sends one
	if err == nil && key != s.key {
		err = latchkey.ErrIdentityChanged
	}
	return err
}

// start runs the process and returns when it serves.
func (s *station) start(ctx context.Context) error {
	var err error
	if s.run, err = start(s.bed.program("latchkey-basestation"), "run", "--json", "--dir", s.dir, "--log-level", "warn"); err != nil {
		return err
	}
	_, err = s.run.line(ctx, func(line string) bool { return strings.HasPrefix(line, `{"listen":`) })
	if err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

// kill ends the process without a chance to say goodbye.
func (s *station) kill() error {
	err := s.run.cmd.Process.Kill()
	<-s.run.done
	s.web.CloseIdleConnections()
	s.run = nil
	return err
}

// close stops the process. One that did not stop well is an error.
func (s *station) close() error {
	s.web.CloseIdleConnections()
	if s.run == nil {
		return nil
	}
	if err := s.run.stop(); err != nil {
		return fmt.Errorf("stop %s: %w; it said: %s", s.run.name, err, s.run.tail())
	}
	return nil
}

// metrics reads the metrics without labels.
func (s *station) metrics(ctx context.Context) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.web.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of the basestation: %s", answer.Status)
	}
	return readMetrics(answer.Body)
}

// readMetrics reads the text format of Prometheus, as far as it has no labels.
func readMetrics(text io.Reader) (map[string]float64, error) {
	found := make(map[string]float64)
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil && !strings.ContainsAny(name, "#{") {
			found[name] = n
		}
	}
	return found, lines.Err()
}

// until waits until a metric is what it should be, and says how long it took. A
// basestation whom many want at once may refuse to tell.
func (s *station) until(ctx context.Context, metric string, want float64) (time.Duration, error) {
	began := time.Now()
	for {
		now, err := s.metrics(ctx)
		if err == nil && now[metric] == want {
			return time.Since(began), nil
		}
		if late := pause(ctx, 200*time.Millisecond); late != nil {
			return 0, fmt.Errorf("%s is %v of %v: %w", metric, now[metric], want, errors.Join(late, err))
		}
	}
}
