package basestation

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/relay"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// First bytes of the datagrams that share the UDP port (RFC 7983).
const (
	stunLast     = 3
	dtlsFirst    = 20
	dtlsLast     = 63
	channelFirst = 64 // of TURN
	channelLast  = 79
)

// portAttempts bounds the search for a port that is free for UDP and TCP.
const portAttempts = 32

// listen binds the UDP and the TCP port, which have the same number, and makes
// what serves them.
func (s *station) listen() error {
	addr := s.srv.Addr
	if addr == "" {
		addr = DefaultAddr
	}
	if err := s.bind(addr); err != nil {
		return err
	}
	var err error
	s.relay, err = relay.New(relay.Config{
		Send:   func(b []byte, to netip.AddrPort) error { return s.sock.Send(b, to, netip.Addr{}) },
		Proven: s.mayAnswer, Limits: s.limits().Relay, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.dtls = &secure.Server{
		Config: secure.Config{
			Identity: s.identity,
			Verify:   func(secure.Peer) error { return nil }, // anybody may be a client: attach and the gate decide
			ALPN:     []string{secure.Protocol},
			Log:      s.log,
		},
		Send:   s.sock.Send,
		Accept: func(c *secure.Conn) { s.carry(s.udpLeg(c)) },
		Limits: secure.Limits{
			Sessions: s.limits().Sessions, HalfOpen: s.limits().Handshakes, PerPrefix: s.limits().PerPrefix,
		},
	}
	s.tls, s.web = s.tlsConfig(), s.newWeb()
	return nil
}

// bind opens the sockets. With port 0 it looks for a number that is free for both.
func (s *station) bind(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("basestation: address %q: %w", addr, err)
	}
	for attempt := 1; ; attempt++ {
		if s.sock, err = packet.Listen(addr, packet.Config{}); err != nil {
			return fmt.Errorf("listen on UDP: %w", err)
		}
		if err = s.bindTCP(); err == nil {
			return nil
		}
		_ = s.sock.Close()
		if n, _ := strconv.Atoi(port); n != 0 || attempt == portAttempts {
			return err
		}
	}
}

// bindTCP listens on the addresses of the UDP sockets.
func (s *station) bindTCP() error {
	s.doors = nil
	for _, a := range s.sock.LocalAddrs() {
		network := "tcp4"
		if a.Addr().Is6() {
			network = "tcp6"
		}
		door, err := net.Listen(network, a.String())
		if err != nil {
			for _, d := range s.doors {
				_ = d.Close()
			}
			return fmt.Errorf("listen on TCP: %w", err)
		}
		s.doors = append(s.doors, door)
	}
	return nil
}

// datagram takes what arrives at the UDP port. Everything else than the three
// protocols is dropped.
func (s *station) datagram(b []byte, m packet.Meta) {
	if len(b) == 0 {
		return
	}
	switch first := b[0]; {
	case first <= stunLast, first >= channelFirst && first <= channelLast:
		s.relay.Deliver(b, m.Src)
	case first >= dtlsFirst && first <= dtlsLast:
		s.dtls.Deliver(b, m)
	}
}
