package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A Half is a connection whose directions end apart.
type Half interface {
	net.Conn
	// CloseWrite ends our direction; the other stays open.
	CloseWrite() error
	// Reset ends both directions at once. A connection that cannot carry the
	// reason leaves it out.
	Reset(latchkey.Code)
}

// half returns c with the methods of Half.
func half(c net.Conn) Half {
	switch c := c.(type) {
	case Half:
		return c
	case *net.TCPConn:
		return &tcpHalf{TCPConn: c, writing: make(chan struct{}, 1)}
	case closeWriter:
		return closeWriterHalf{c}
	}
	return plainHalf{c}
}

// tcpHalf sends RST for a reset, and takes none for an end: the system reports a
// reset once, and if that was to a write, the next read says end of file. What
// was cut short must not be passed on as complete.
type tcpHalf struct {
	*net.TCPConn
	writing chan struct{} // holds an element during a write
	broken  atomic.Bool   // a write has failed
}

// brokenTime is how long an end waits for a write that may tell more.
const brokenTime = 50 * time.Millisecond

// Read implements net.Conn.
func (h *tcpHalf) Read(b []byte) (int, error) {
	n, err := h.TCPConn.Read(b)
	if errors.Is(err, io.EOF) && h.wasReset() {
		err = fmt.Errorf("read %v: %w", h.RemoteAddr(), syscall.ECONNRESET)
	}
	return n, err
}

// Write implements net.Conn.
func (h *tcpHalf) Write(b []byte) (int, error) {
	h.writing <- struct{}{}
	n, err := h.TCPConn.Write(b)
	if err != nil {
		h.broken.Store(true)
	}
	<-h.writing
	return n, err
}

// wasReset waits for a write under way to end, not for long: the other side may
// have ended its direction and not be reading.
func (h *tcpHalf) wasReset() bool {
	timer := time.NewTimer(brokenTime)
	defer timer.Stop()
	select {
	case h.writing <- struct{}{}:
		<-h.writing
	case <-timer.C:
	}
	return h.broken.Load()
}

// Reset implements Half.
func (h *tcpHalf) Reset(latchkey.Code) {
	_ = h.SetLinger(0)
	_ = h.Close()
}

type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// closeWriterHalf is a connection without resets, such as a unix socket.
type closeWriterHalf struct{ closeWriter }

func (h closeWriterHalf) Reset(latchkey.Code) { _ = h.Close() }

// plainHalf is a connection that can only end as a whole.
type plainHalf struct{ net.Conn }

func (h plainHalf) CloseWrite() error   { return h.Close() }
func (h plainHalf) Reset(latchkey.Code) { _ = h.Close() }
