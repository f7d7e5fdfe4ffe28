package packet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// A socket that only fails is given up after failLimit reads in a row,
	// which failPause stretches to more than a minute.
	failLimit = 1000
	failPause = 100 * time.Millisecond
	// maxSources bounds the cached control messages. A machine that answers
	// from more addresses builds one for each datagram.
	maxSources = 64
)

// datagramConn is what a socket needs of *net.UDPConn.
type datagramConn interface {
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
	SetReadDeadline(t time.Time) error
	Close() error
}

// A socket is one UDP socket of one family.
type socket struct {
	conn     datagramConn
	local    netip.AddrPort
	wildcard bool
	loopback bool

	mu      sync.RWMutex
	sources map[netip.Addr][]byte // control message that sends from an address
}

func openSocket(local netip.AddrPort, cfg Config) (*socket, error) {
	network := "udp4"
	if local.Addr().Is6() {
		network = "udp6" // the net package makes its wildcard IPv6 only
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, err
	}
	if err := setOptions(conn, local.Addr().Is4(), cfg); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	bound := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return newSocket(conn, netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())), nil
}

func newSocket(conn datagramConn, local netip.AddrPort) *socket {
	return &socket{
		conn:     conn,
		local:    local,
		wildcard: local.Addr().IsUnspecified(),
		loopback: local.Addr().IsLoopback(),
		sources:  make(map[netip.Addr][]byte),
	}
}

// serve reads until ctx ends or the socket is closed.
func (s *socket) serve(ctx context.Context, h func([]byte, Meta)) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, oob := make([]byte, MaxDatagram), make([]byte, controlSize)
	for failures := 0; ; {
		n, oobn, _, src, err := s.conn.ReadMsgUDPAddrPort(b, oob)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err == nil:
			failures = 0
			m := Meta{Src: netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), Loopback: s.loopback}
			readControl(oob[:oobn], &m)
			if !m.Dst.IsValid() && !s.wildcard {
				m.Dst = s.local.Addr()
			}
			h(b[:n], m)
		default:
			// The system reports ICMP errors and passing troubles of the
			// network as failed reads; the next read may well succeed.
			if failures++; failures == failLimit {
				return err
			}
			pause(ctx, min(time.Duration(failures-1)*time.Millisecond, failPause))
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *socket) send(b []byte, to netip.AddrPort, from netip.Addr) error {
	var oob []byte
	if s.wildcard && from.IsValid() {
		oob = s.source(from.Unmap())
	}
	_, _, err := s.conn.WriteMsgUDPAddrPort(b, oob, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return err
}

// source returns the control message that makes from the source address.
func (s *socket) source(from netip.Addr) []byte {
	s.mu.RLock()
	oob, ok := s.sources[from]
	s.mu.RUnlock()
	if ok || from.Is4() != s.local.Addr().Is4() {
		return oob
	}
	oob = sourceControl(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sources) < maxSources {
		s.sources[from] = oob
	}
	return oob
}

func (s *socket) close() error {
	if err := s.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
