package tunnel

import (
	"net"

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
		return tcpHalf{c}
	case closeWriter:
		return closeWriterHalf{c}
	}
	return plainHalf{c}
}

// tcpHalf sends RST for a reset.
type tcpHalf struct{ *net.TCPConn }

func (h tcpHalf) Reset(latchkey.Code) {
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
