package tunnel

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A Target is where a service of a device leads.
type Target struct{ network, address string }

// ParseTarget reads tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH.
func ParseTarget(s string) (Target, error) { return Target{}, latchkey.ErrInternal }

// String returns what ParseTarget read.
func (t Target) String() string { return t.network + "://" + t.address }

// Network returns tcp, udp or unix.
func (t Target) Network() string { return t.network }

// Dial connects to the target.
func (t Target) Dial(ctx context.Context) (net.Conn, error) { return nil, latchkey.ErrInternal }

// Half is a connection whose directions end apart.
type Half interface {
	net.Conn
	CloseWrite() error
	Reset(latchkey.Code)
}

// Progress counts the bytes of one or many tunnels.
type Progress struct{ Sent, Received atomic.Int64 }

// Splice copies both ways between a and b until both directions ended.
func Splice(ctx context.Context, a, b net.Conn, progress *Progress) error {
	return latchkey.ErrInternal
}

// ServeUDP carries each local source of pc in a flow of its own.
func ServeUDP(ctx context.Context, pc net.PacketConn, open func(context.Context) (net.Conn, error), idle time.Duration) error {
	return latchkey.ErrInternal
}

// Stdio returns stdin and stdout as one connection.
func Stdio() net.Conn { return nil }
