package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
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
	client  *Client
	alias   string
	options DialOptions
	event   func(ForwardEvent)

	mu    sync.Mutex // guards what follows
	conn  *Conn      // nil while there is none
	ready chan struct{}
	lost  chan struct{} // closed when conn is lost
	old   []*Conn       // silent ones, held for the tunnels they carry
	kind  string        // of the path that was told last
}

func newKeeper(c *Client, alias string, o DialOptions, event func(ForwardEvent)) *keeper {
	return &keeper{client: c, alias: alias, options: o, event: event, ready: make(chan struct{})}
}

// start dials for the first time; failure is the caller's to tell.
func (k *keeper) start(ctx context.Context) (*Conn, error) {
	conn, err := k.client.DialWith(ctx, k.alias, k.options)
	if err != nil {
		return nil, err
	}
	k.set(conn)
	return conn, nil
}

func (k *keeper) set(conn *Conn) {
	p := conn.Path()
	k.event(ForwardEvent{Kind: "connected", Path: p.Kind, Addr: p.Remote.String()})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kind = p.Kind
	k.conn, k.lost = conn, make(chan struct{})
	close(k.ready)
}

// lose takes the present connection out of use.
func (k *keeper) lose(conn *Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.ready = nil, make(chan struct{})
	close(k.lost)
	k.old = append(k.old, conn)
}

// get returns the present connection, or waits for the next.
func (k *keeper) get(ctx context.Context) (*Conn, error) {
	conn, _, err := k.present(ctx)
	return conn, err
}

func (k *keeper) present(ctx context.Context) (conn *Conn, lost <-chan struct{}, err error) {
	for {
		k.mu.Lock()
		conn, ready, lost := k.conn, k.ready, k.lost
		k.mu.Unlock()
		if conn != nil {
			return conn, lost, nil
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// use opens a tunnel on the present connection. If that is lost before the
// device has answered, it opens on the next one instead.
func (k *keeper) use(ctx context.Context, open func(context.Context, *Conn) (net.Conn, error)) (net.Conn, error) {
	for {
		conn, lost, err := k.present(ctx)
		if err != nil {
			return nil, err
		}
		trying, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { // ends with the open
			select {
			case <-lost:
				cancel()
			case <-done:
			}
		}()
		tunnel, err := open(trying, conn)
		close(done)
		cancel()
		ended := conn.Context().Err() != nil
		select {
		case <-lost:
			ended = true
		default:
		}
		if err == nil || ctx.Err() != nil || !ended || k.final(err) {
			return tunnel, err
		}
		if err := k.change(ctx, lost); err != nil {
			return nil, err
		}
	}
}

// change waits until the connection of lost is out of use.
func (k *keeper) change(ctx context.Context, lost <-chan struct{}) error {
	select {
	case <-lost:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
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
		if err = k.watch(ctx, conn); k.final(err) || ctx.Err() != nil {
			return err
		}
		k.lose(conn)
		k.event(ForwardEvent{Kind: "reconnecting", Err: err})
		if conn, err = k.redial(ctx); err != nil {
			return err
		}
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
				return ending(context.Cause(ended))
			}
		case <-ticker.C:
			k.sweep()
			path := conn.Path()
			if ended = conn.Context(); !path.Up {
				return errSilent
			}
			k.tell(path)
		}
	}
}

// tell reports a path of another kind than before.
func (k *keeper) tell(p Path) {
	k.mu.Lock()
	changed := p.Kind != k.kind
	k.kind = p.Kind
	k.mu.Unlock()
	if changed {
		k.event(ForwardEvent{Kind: "path", Path: p.Kind, Addr: p.Remote.String()})
	}
}

var errSilent = errors.New("nothing is heard from the device")

// refusals in a row end the dialling: one may be forged by somebody who can
// send in the device's name, before its handshake has proven anything.
const refusals = 3

func (k *keeper) redial(ctx context.Context) (*Conn, error) {
	refused := 0
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		conn, err := k.client.DialWith(ctx, k.alias, k.options)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		if errors.Is(err, latchkey.ErrHandshakeRefused) {
			refused++
		} else {
			refused = 0
		}
		if hopeless(err) && (refused == 0 || refused == refusals) {
			return nil, err
		}
		k.event(ForwardEvent{Kind: "reconnecting", Err: err})
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(rand.N(pause)):
		}
	}
}

// final reports whether the end of a session, or of a try to use it, is the end
// of all. A token that has expired is not if there may be a fresh one.
func (k *keeper) final(err error) bool {
	if errors.Is(err, latchkey.ErrTokenExpired) && k.options.Login != nil {
		return false
	}
	return hopeless(err)
}

// hopeless reports whether dialling again is useless or unsafe. Whoever was just
// told that the token has expired has no better one.
func hopeless(err error) bool {
	for _, target := range []error{
		latchkey.ErrUnpaired, latchkey.ErrHandshakeRefused, latchkey.ErrTokenExpired,
		latchkey.ErrIdentityChanged, latchkey.ErrUnknownDevice,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return isFarewell(err)
}

// sweep closes the lost connections whose sessions have ended, or carry no
// tunnel any more.
func (k *keeper) sweep() {
	k.mu.Lock()
	var done []*Conn
	k.old = slices.DeleteFunc(k.old, func(conn *Conn) bool {
		useless := conn.Context().Err() != nil || conn.idle()
		if useless {
			done = append(done, conn)
		}
		return useless
	})
	k.mu.Unlock()
	for _, conn := range done {
		_ = conn.Close()
	}
}

func (k *keeper) close() {
	k.mu.Lock()
	conns := slices.Clone(k.old)
	if k.conn != nil {
		conns = append(conns, k.conn)
	}
	k.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}
