package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
)

const (
	// bufferSize is what a busy direction copies at once, and idleSize what an
	// idle one holds.
	bufferSize = 64 << 10
	idleSize   = 4 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Progress counts the bytes that Splice carried. One Progress may serve any
// number of tunnels; nil counts nothing.
type Progress struct {
	Sent     atomic.Int64 // from a to b
	Received atomic.Int64 // from b to a
}

// counters returns the counters of both directions.
func (p *Progress) counters() (sent, received *atomic.Int64) {
	if p == nil {
		p = new(Progress)
	}
	return &p.Sent, &p.Received
}

// Splice copies both ways between a and b until both directions have ended,
// and then closes both. When one side ends its direction, the other side's is
// ended after what came before; when one side fails or is reset, or ctx ends,
// both are reset at once. It returns nil if both directions ended in their own
// time, else the first error, or the cause of ctx.
//
// Connections whose address is of network "udp" carry datagrams: each is passed
// on whole or not at all, and the tunnel ends after two minutes without one.
func Splice(ctx context.Context, a, b net.Conn, progress *Progress) error {
	if isDatagram(a) || isDatagram(b) {
		return spliceDatagrams(ctx, a, b, idleTime, progress)
	}
	s := &splice{a: half(a), b: half(b)}
	stop := context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	defer stop()
	sent, received := progress.counters()
	var wg sync.WaitGroup
	wg.Go(func() { s.carry(s.a, s.b, received) }) // ends with b, which fail ends
	s.carry(s.b, s.a, sent)
	wg.Wait()
	s.once.Do(func() {}) // waits for a fail that has begun
	_ = a.Close()
	_ = b.Close()
	return s.err
}

// A splice is two connections and why they failed.
type splice struct {
	a, b Half
	once sync.Once
	err  error
}

// fail resets both sides, once.
func (s *splice) fail(err error) {
	s.once.Do(func() {
		s.err = err
		code := resetCode(err)
		s.a.Reset(code)
		s.b.Reset(code)
	})
}

// carry copies one direction and passes on its end.
func (s *splice) carry(dst, src Half, count *atomic.Int64) {
	err := pass(dst, src, count)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err != nil {
		s.fail(err)
	}
}

// pass copies until src ends. A source that can write its own buffers out does.
func pass(dst, src net.Conn, count *atomic.Int64) error {
	_, kernel := src.(*tcpHalf) // its WriteTo would only allocate a buffer
	if from, ok := src.(io.WriterTo); ok && !kernel {
		_, err := from.WriteTo(counted{dst, count})
		return err
	}
	return copyBuffered(dst, src, count)
}

// copyBuffered copies with a large buffer while src fills a small one.
func copyBuffered(dst io.Writer, src io.Reader, count *atomic.Int64) error {
	small := make([]byte, idleSize)
	for {
		n, err := copyOnce(dst, src, small, count)
		if n == idleSize && err == nil {
			err = copyBusy(dst, src, count)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyBusy copies until a read returns less than a small buffer holds.
func copyBusy(dst io.Writer, src io.Reader, count *atomic.Int64) error {
	large := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(large)
	for {
		n, err := copyOnce(dst, src, large[:], count)
		if err != nil || n < idleSize {
			return err
		}
	}
}

func copyOnce(dst io.Writer, src io.Reader, b []byte, count *atomic.Int64) (int, error) {
	n, err := src.Read(b)
	if n > 0 {
		if _, err := dst.Write(b[:n]); err != nil {
			return n, err
		}
		count.Add(int64(n))
	}
	return n, err
}

// counted counts what is written.
type counted struct {
	io.Writer
	count *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.count.Add(int64(n))
	return n, err
}

// resetCode is what one side is told when the other failed with err: the
// reason it gave, else that it was reset.
func resetCode(err error) latchkey.Code {
	code := latchkey.CodeOf(err)
	switch {
	case code != latchkey.CodeInternal || errors.Is(err, latchkey.ErrInternal):
		return code
	case errors.Is(err, context.Canceled):
		return latchkey.CodeShutdown
	}
	return latchkey.CodeReset
}
