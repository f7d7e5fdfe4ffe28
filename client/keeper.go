package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	redialFirst = 500 * time.Millisecond // doubled up to redialMost, with full jitter
	redialMost  = 10 * time.Second
	lookEvery   = time.Second // at whether the path is up
)

// A keeper keeps a connection to one device, dialling again when it is lost.
type keeper struct {
	client *Client
	alias  string
	event  func(ForwardEvent)

	mu    sync.Mutex // guards what follows
	conn  *Conn      // nil while there is none
	ready chan struct{}
	old   []*Conn // silent ones, held for their streams until they end by themselves
}

func newKeeper(c *Client, alias string, event func(ForwardEvent)) *keeper {
	return &keeper{client: c, alias: alias, event: event, ready: make(chan struct{})}
}

// start dials for the first time; failure is the caller's to tell.
func (k *keeper) start(ctx context.Context) (*Conn, error) {
	conn, err := k.client.Dial(ctx, k.alias)
	if err != nil {
		return nil, err
	}
	k.set(conn)
	return conn, nil
}

func (k *keeper) set(conn *Conn) {
	k.event(ForwardEvent{Kind: "connected", Addr: conn.Path().Remote.String()})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn = conn
	close(k.ready)
}

// lose takes the present connection out of use.
func (k *keeper) lose(conn *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.ready = nil, make(chan struct{})
	k.old = append(k.old, conn)
}

// get returns the present connection, or waits for the next.
func (k *keeper) get(ctx context.Context) (*Conn, error) {
	for {
		k.mu.Lock()
		conn, ready := k.conn, k.ready
		k.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// run watches the connection and dials again when it is lost, until ctx ends
// or the device has ended our access for good.
func (k *keeper) run(ctx context.Context) error {
	for {
		conn, err := k.get(ctx)
		if err != nil {
			return err
		}
		if err = k.watch(ctx, conn); final(err) || ctx.Err() != nil {
			return err
		}
		k.lose(conn)
		k.event(ForwardEvent{Kind: "reconnecting", Err: err})
		if conn, err = k.redial(ctx); err != nil {
			return err
		}
		k.sweep()
		k.set(conn)
	}
}

// watch returns when the session has ended or its path is silent.
func (k *keeper) watch(ctx context.Context, conn *Conn) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	ended := conn.Context()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended.Done():
			if ended = conn.Context(); ended.Err() != nil { // not just renewed
				return context.Cause(ended)
			}
		case <-ticker.C:
			if ended = conn.Context(); !conn.Path().Up {
				return errSilent
			}
		}
	}
}

var errSilent = fmt.Errorf("no sign of the device: %w", latchkey.ErrOffline)

func (k *keeper) redial(ctx context.Context) (*Conn, error) {
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := k.client.Dial(ctx, k.alias)
		if err == nil || final(err) || ctx.Err() != nil {
			return conn, err
		}
		k.event(ForwardEvent{Kind: "reconnecting", Err: err})
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(rand.N(pause)):
		}
	}
}

// final reports whether dialling again is useless or unsafe.
func final(err error) bool {
	for _, target := range []error{
		latchkey.ErrRevoked, latchkey.ErrUnpaired, latchkey.ErrHandshakeRefused,
		latchkey.ErrIdentityChanged, latchkey.ErrUnknownDevice,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// sweep closes the lost connections whose sessions have ended.
func (k *keeper) sweep() {
	k.mu.Lock()
	var ended []*Conn
	for i := len(k.old) - 1; i >= 0; i-- {
		if k.old[i].Context().Err() != nil {
			ended = append(ended, k.old[i])
			k.old = append(k.old[:i], k.old[i+1:]...)
		}
	}
	k.mu.Unlock()
	for _, conn := range ended {
		_ = conn.Close()
	}
}

func (k *keeper) close() {
	k.mu.Lock()
	conns := k.old
	if k.conn != nil {
		conns = append(conns, k.conn)
	}
	k.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}
