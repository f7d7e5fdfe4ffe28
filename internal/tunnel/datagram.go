package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// idleTime ends a flow of datagrams that carries none (RFC 4787 section 4.3
// asks for at least two minutes).
const idleTime = 2 * time.Minute

// isDatagram says that each write to c is one datagram.
func isDatagram(c net.Conn) bool {
	addr := c.LocalAddr()
	return addr != nil && addr.Network() == "udp"
}

// A flow is two connections that carry datagrams.
type flow struct {
	a, b net.Conn
	idle idleClock
	once sync.Once
	err  error
}

// spliceDatagrams is Splice for datagrams. An end of either side ends both.
func spliceDatagrams(ctx context.Context, a, b net.Conn, idle time.Duration, progress *Progress) error {
	f := &flow{a: a, b: b, idle: idleClock{limit: idle}}
	f.idle.start(a, b)
	stop := context.AfterFunc(ctx, func() { f.end(context.Cause(ctx)) })
	defer stop()
	sent, received := progress.counters()
	var wg sync.WaitGroup
	wg.Go(func() { f.end(f.carry(a, b, received)) }) // ends with b, which end closes
	f.end(f.carry(b, a, sent))
	wg.Wait()
	return f.err
}

// carry passes datagrams on until src ends or both directions are idle.
func (f *flow) carry(dst, src net.Conn, count *atomic.Int64) error {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := f.idle.read(src, buf[:])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case isRefused(err):
			return latchkey.ErrTargetRefused // the ICMP answer to an earlier datagram
		case err != nil:
			return err
		}
		if _, err := dst.Write(buf[:n]); errors.Is(err, net.ErrClosed) {
			return err
		}
		count.Add(int64(n)) // any other error is the loss of one datagram
	}
}

// end closes both sides, once: in their own time without an error, else with
// its reason.
func (f *flow) end(err error) {
	f.once.Do(func() {
		f.err = err
		if err == nil {
			_ = f.a.Close()
			_ = f.b.Close()
			return
		}
		resetConn(f.a, err)
		resetConn(f.b, err)
	})
}

// resetConn ends a connection and passes on the reason if it can.
func resetConn(c net.Conn, err error) {
	if r, ok := c.(interface{ Reset(latchkey.Code) }); ok {
		r.Reset(resetCode(err))
		return
	}
	_ = c.Close()
}

// An idleClock ends what carries no datagram for as long as limit.
type idleClock struct {
	limit time.Duration
	last  atomic.Int64 // Unix time in nanoseconds of the last datagram
}

func (c *idleClock) touch() { c.last.Store(time.Now().UnixNano()) }

// read reads one datagram. It returns io.EOF when there was none in either
// direction for too long. It moves the deadline only when one has passed.
func (c *idleClock) read(src net.Conn, b []byte) (int, error) {
	for {
		n, err := src.Read(b)
		if err == nil {
			c.touch()
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		end := time.Unix(0, c.last.Load()).Add(c.limit)
		if !time.Now().Before(end) {
			return 0, io.EOF
		}
		if err := src.SetReadDeadline(end); err != nil {
			return 0, err
		}
	}
}

// start begins with the first deadline.
func (c *idleClock) start(conns ...net.Conn) {
	c.touch()
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(c.limit)) // fails only when closed, as Read will
	}
}
