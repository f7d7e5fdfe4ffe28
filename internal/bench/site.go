package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/latchkey-dev/latchkey/client"
)

// alias is what the client calls the device.
const alias = "home"

// A site is a running latchkeyd and a client directory that is paired with it.
type site struct {
	bed     *bed
	daemon  *process
	device  string // directory of the daemon
	client  string // directory of the client
	tunnels []*process
}

// newSite starts a daemon with services, NAME=TARGET, and pairs with it.
// Whoever makes a site must close it.
func (b *bed) newSite(ctx context.Context, services ...string) (*site, error) {
	b.sites++
	dir := filepath.Join(b.dir, "site"+strconv.Itoa(b.sites))
	s := &site{bed: b, device: filepath.Join(dir, "device"), client: filepath.Join(dir, "client")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.start(ctx, services); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) start(ctx context.Context, services []string) error {
	args := []string{"init", "--dir", s.device, "--listen", "127.0.0.1:0", "--pairing", "local-initial"}
	for _, service := range services {
		args = append(args, "--service", service)
	}
	daemon := s.bed.program("latchkeyd")
	if _, err := output(ctx, "", daemon, args...); err != nil {
		return err
	}
	var err error
	if s.daemon, err = start(daemon, "run", "--json", "--dir", s.device); err != nil {
		return err
	}
	ready := func(line string) bool { return strings.HasPrefix(line, `{"listen":`) }
	if _, err := s.daemon.line(ctx, ready); err != nil {
		return err
	}
	url, err := output(ctx, "", daemon, "pairing-url", "--dir", s.device)
	if err != nil {
		return err
	}
	_, err = output(ctx, "", s.bed.program("latchkey"), "pair", "--dir", s.client, "--as", alias, strings.TrimSpace(string(url)))
	return err
}

// close stops every process of the site. A daemon that did not stop well is an
// error.
func (s *site) close() error {
	var errs []error
	for _, p := range append(s.tunnels, s.daemon) {
		if p == nil {
			continue
		}
		if err := p.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w; it said: %s", p.name, err, p.tail()))
		}
	}
	return errors.Join(errs...)
}

// tunnel runs `latchkey tunnel`, SERVICE:LOCAL each, and returns when it
// listens. The site stops it.
func (s *site) tunnel(ctx context.Context, forwards ...string) (*process, error) {
	p, err := start(s.bed.program("latchkey"), append([]string{"tunnel", "--dir", s.client, alias}, forwards...)...)
	if err != nil {
		return nil, err
	}
	s.tunnels = append(s.tunnels, p)
	for _, forward := range forwards {
		_, local, _ := strings.Cut(forward, ":")
		local = strings.TrimPrefix(local, "unix:")
		if _, err := p.line(ctx, func(line string) bool { return strings.Contains(line, local) }); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// dial opens a session from this process, as the paired client.
func (s *site) dial(ctx context.Context) (*client.Conn, error) {
	c := &client.Client{Dir: s.client, NoDiscovery: true, Logger: quiet}
	return c.Dial(ctx, alias)
}

// freePort returns a TCP port of 127.0.0.1 that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
