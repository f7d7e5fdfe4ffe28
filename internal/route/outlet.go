package route

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
)

// outletSize is how many messages wait for a stream to the relay that does not
// take them; more are lost.
const outletSize = 256

// An outlet is the way to the relay. A datagram goes out at once. A stream may
// stall, so what it is to carry waits in a queue, and nobody else does.
type outlet struct {
	net.PacketConn
	wrote chan struct{} // told about every message, without room for two
	queue chan []byte   // nil: it is a UDP socket
	ended atomic.Bool
}

func newOutlet(conn net.PacketConn) *outlet {
	o := &outlet{PacketConn: conn, wrote: make(chan struct{}, 1)}
	if _, udp := conn.LocalAddr().(*net.UDPAddr); !udp {
		o.queue = make(chan []byte, outletSize)
	}
	return o
}

// end makes every later WriteTo fail, at which the library gives up what it would
// repeat.
func (o *outlet) end() { o.ended.Store(true) }

// WriteTo implements net.PacketConn.
func (o *outlet) WriteTo(b []byte, to net.Addr) (n int, err error) {
	n = len(b)
	if o.ended.Load() {
		return 0, net.ErrClosed
	}
	if o.queue == nil {
		n, err = o.PacketConn.WriteTo(b, to)
	} else {
		select {
		case o.queue <- bytes.Clone(b):
		default:
		}
	}
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return n, err
}

// drain empties the queue until ctx ends or the stream does.
func (o *outlet) drain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-o.queue:
			if _, err := o.PacketConn.WriteTo(b, nil); err != nil {
				return err
			}
		}
	}
}
