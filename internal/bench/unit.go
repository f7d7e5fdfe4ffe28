package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

var quiet = slog.New(slog.DiscardHandler)

// units are devices that serve in this process, attached to one basestation.
type units struct {
	stop context.CancelFunc
	work sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

// serve runs every device of f, with services, until close. They let
// everybody do everything.
func (f *fleet) serve(ctx context.Context, s *station, services ...device.Service) (*units, error) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	u := &units{stop: stop}
	ready := make(chan struct{}, len(f.keys))
	for i, key := range f.keys {
		d := &device.Device{
			Identity: key, ID: deviceID(i), Addr: f.at(i).String() + ":0", NoDiscovery: true, Services: services,
			Basestations: []string{s.addr}, BasestationKey: s.key,
			Authorize: func(context.Context, *acl.Request) error { return nil },
			Ready:     func(device.Info) { ready <- struct{}{} }, Logger: quiet,
		}
		u.work.Go(func() { // ends with stop
			if err := d.ListenAndServe(serving); err != nil {
				u.fail(err)
				ready <- struct{}{}
			}
		})
	}
	for range f.keys {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), u.close())
		}
	}
	u.mu.Lock()
	failed := u.err
	u.mu.Unlock()
	if failed != nil {
		return nil, fmt.Errorf("device: %w", errors.Join(failed, u.close()))
	}
	return u, nil
}

func (u *units) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
}

// close stops all and waits for them.
func (u *units) close() error {
	u.stop()
	u.work.Wait()
	return u.err
}
