package coap

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// tick is the period of Tick for an endpoint on a socket of its own.
const tick = 100 * time.Millisecond

// UDP is an Endpoint on a connected UDP socket of its own, for plain CoAP
// servers (coap://). It ticks by itself.
type UDP struct {
	*Endpoint
	socket net.Conn
	group  sync.WaitGroup
}

// DialUDP returns an endpoint for the CoAP server at "host:port"; ctx bounds
// looking up the host. Config.Send is not used. Two goroutines run until
// Close. When the host says that nobody listens, what is under way fails with
// latchkey.ErrTargetRefused.
func DialUDP(ctx context.Context, addr string, cfg Config) (*UDP, error) {
	var d net.Dialer
	socket, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	u := &UDP{socket: socket}
	cfg.Send = u.send
	u.Endpoint = New(cfg)
	u.group.Go(u.read)
	u.group.Go(u.tick)
	return u, nil
}

// Close ends everything under way, closes the socket and returns after the
// last goroutine; a Handler must heed its context.
func (u *UDP) Close() error {
	u.Endpoint.Close()
	err := u.socket.Close()
	u.group.Wait()
	u.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (u *UDP) send(b []byte) error {
	_, err := u.socket.Write(b)
	u.check(err)
	return err
}

// check looks for the answer of a host to datagrams for a closed port.
func (u *UDP) check(err error) {
	if errors.Is(err, syscall.ECONNREFUSED) {
		u.Abort(latchkey.ErrTargetRefused)
	}
}

// read ends when the socket is closed.
func (u *UDP) read() {
	b := make([]byte, maxDatagram+1)
	for {
		n, err := u.socket.Read(b)
		switch {
		case err == nil:
			u.Deliver(b[:n])
		case errors.Is(err, net.ErrClosed):
			return
		default:
			u.check(err)
			u.pause()
		}
	}
}

// pause keeps a socket that does nothing but fail from taking a whole core.
func (u *UDP) pause() {
	select {
	case <-time.After(tick / 10):
	case <-u.ctx.Done():
	}
}

// tick ends when the endpoint is closed.
func (u *UDP) tick() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			u.Tick(now)
		case <-u.ctx.Done():
			return
		}
	}
}
