package basestation

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// ALPN values of the TCP port (RFC 8323, RFC 7443, RFC 9113, RFC 9112).
const (
	alpnCoAP  = "coap"
	alpnTURN  = "stun.turn"
	alpnHTTP2 = "h2"
	alpnHTTP1 = "http/1.1"
)

const (
	tlsHandshake = 22 // first byte of a TLS connection (RFC 8446 section 5.1)
	stunHeader   = 20
	stunCookie   = 0x2112a442

	// firstTime is how long a connection has to say what it is, and then again
	// for its TLS handshake.
	firstTime = 5 * time.Second
	// acceptPause is between attempts while the system has no file left.
	acceptPause = 50 * time.Millisecond
)

// accept takes TCP connections until the listener is closed.
func (s *station) accept(door net.Listener) error {
	for {
		conn, err := door.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.log.Warn("no connection accepted", "op", "accept", "err", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.ctx.Done():
				return nil
			}
		}
		if !s.streams.enter(conn) {
			_ = conn.Close()
			continue
		}
		s.start(func() { // ends with the connection
			defer s.streams.leave(conn)
			if err := s.stream(conn, func() { s.streams.trust(conn) }); err != nil {
				s.log.Debug("connection ended", "op", "tcp", "source", sourceOf(conn).String(), "err", err)
			}
		})
	}
}

// stream serves one TCP connection by its first byte. It calls trust when the
// connection turns out to be of use.
func (s *station) stream(conn net.Conn, trust func()) error {
	if err := conn.SetDeadline(time.Now().Add(firstTime)); err != nil {
		return err
	}
	var head [stunHeader]byte
	if _, err := io.ReadFull(conn, head[:1]); err != nil {
		return err
	}
	if head[0] == tlsHandshake {
		return s.encrypted(&replay{Conn: conn, head: head[:1]}, trust)
	}
	if head[0] > stunLast {
		return errors.New("neither TLS nor STUN")
	}
	if _, err := io.ReadFull(conn, head[1:]); err != nil {
		return err
	}
	if !isSTUN(head[:]) {
		return errors.New("neither TLS nor STUN")
	}
	return s.turn(&replay{Conn: conn, head: head[:]}, trust)
}

// isSTUN judges a whole header (RFC 8489 section 5).
func isSTUN(head []byte) bool {
	return head[0] <= stunLast && binary.BigEndian.Uint32(head[4:]) == stunCookie
}

func (s *station) turn(conn net.Conn, trust func()) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	s.relay.ServeConn(&turnConn{Conn: conn, allocated: trust})
	return nil
}

func (s *station) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{s.identity.TLSCertificate()},
		NextProtos:             []string{alpnCoAP, alpnTURN, alpnHTTP2, alpnHTTP1},
		ClientAuth:             tls.RequestClientCert, // who attaches or connects has to send one
		SessionTicketsDisabled: true,                  // each connection proves its key
	}
}

// encrypted serves a TLS connection by its ALPN.
func (s *station) encrypted(conn net.Conn, trust func()) error {
	c := tls.Server(conn, s.tls)
	ctx, cancel := context.WithTimeout(s.ctx, firstTime)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	switch c.ConnectionState().NegotiatedProtocol {
	case alpnCoAP:
		return s.peer(c, trust)
	case alpnTURN:
		return s.turn(c, trust)
	case alpnHTTP2, alpnHTTP1:
		return s.web.take(c)
	}
	if err := c.SetDeadline(time.Now().Add(firstTime)); err != nil {
		return err
	}
	var head [stunHeader]byte // a shorter request than this is no HTTP either
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if isSTUN(head[:]) {
		return s.turn(&replay{Conn: c, head: head[:]}, trust)
	}
	return s.web.take(&replay{Conn: c, head: head[:]})
}

// peer serves CoAP over TLS (RFC 8323) for a peer that proved its key.
func (s *station) peer(c *tls.Conn, trust func()) error {
	state := c.ConnectionState()
	key, err := secure.PeerKey(state)
	if err != nil {
		return fmt.Errorf("key of a peer: %w", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	l := s.newLeg(key, sourceOf(c), "tls")
	l.certificate = sha256.Sum256(state.PeerCertificates[0].Raw)
	stream := coap.NewStream(c, s.coapConfig(l))
	l.coap, l.heard, l.serve = stream.Endpoint, stream.LastHeard, stream.Serve
	l.shut, l.vouch = stream.Close, trust
	l.farewell = func(code latchkey.Code) {
		ctx, cancel := context.WithTimeout(l.ctx, byeTime)
		defer cancel()
		r := coap.NewRequest(coap.POST, "end")
		r.Body = []byte{byte(code)}
		if _, err := stream.Do(ctx, r); err != nil {
			s.log.Debug("goodbye not taken", "op", "end", "peer", key, "err", err)
		}
	}
	s.carry(l)
	return nil
}

// A replay is a connection of which the first bytes were read already.
type replay struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (r *replay) Read(b []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.head)
	r.head = r.head[n:]
	return n, nil
}
