package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/session"
)

// Application protocols of the basestation's TCP port (RFC 8323 section 8.2,
// RFC 7443).
const (
	protocolCoAP = "coap"
	protocolTURN = "stun.turn"
)

// Keep-alive on TLS. Half of what a cautious middlebox grants an idle
// connection would do; a peer that vanished should be noticed sooner.
const (
	tickEvery  = 100 * time.Millisecond
	probeAfter = 10 * time.Second // of silence
	probeEvery = 5 * time.Second
	lostAfter  = 30 * time.Second // of silence
)

// A way is how to get to the basestation's TCP port.
type way struct {
	addr  string         // "host:port", as configured
	to    netip.AddrPort // where to connect to, if there is no proxy
	proxy *url.URL
}

func (d *dialer) pinned(addr string, key latchkey.Fingerprint) error {
	if key != d.cfg.Key {
		return &KeyError{Addr: addr, Got: key, Want: d.cfg.Key}
	}
	return nil
}

// open makes a TLS connection on which the basestation has proved its key and
// speaks the given protocol. Whether it accepts ours it says later (RFC 8446
// section 4.4.2).
func (d *dialer) open(ctx context.Context, w way, protocol string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	under, err := d.connect(ctx, w)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(under, d.tlsConfig(w, protocol))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = under.Close() // nothing of ours was sent yet
		return nil, refusal(err)
	}
	return conn, nil
}

func (d *dialer) tlsConfig(w way, protocol string) *tls.Config {
	certificate := d.cfg.Identity.TLSCertificate()
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{certificate},
		NextProtos:         []string{protocol},
		InsecureSkipVerify: true, // of names and issuers; VerifyConnection compares the key
		VerifyConnection: func(state tls.ConnectionState) error {
			// A key of another kind is another key: its zero fingerprint says so.
			var key latchkey.Fingerprint
			if len(state.PeerCertificates) > 0 {
				key, _ = latchkey.FingerprintOf(state.PeerCertificates[0].PublicKey)
			}
			if err := d.pinned(w.addr, key); err != nil {
				return err
			}
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("uplink: basestation does not speak %q: %w", protocol, latchkey.ErrProtocol)
			}
			return nil
		},
	}
	if host, _, err := net.SplitHostPort(w.addr); err == nil && net.ParseIP(host) == nil {
		cfg.ServerName = host
	}
	return cfg
}

// connect opens the TCP connection.
func (d *dialer) connect(ctx context.Context, w way) (net.Conn, error) {
	if w.proxy != nil {
		return throughProxy(ctx, w.proxy, w.addr)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", w.to.String())
}

// refusals are what crypto/tls calls the alerts with which a server refuses a
// certificate (RFC 8446 section 6.2).
var refusals = []string{
	"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate",
	"tls: unknown certificate", "tls: unknown certificate authority", "tls: access denied", "tls: certificate required",
}

// refusal makes an alert that refuses our key match latchkey.ErrHandshakeRefused.
func refusal(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && slices.Contains(refusals, op.Err.Error()) {
		return fmt.Errorf("uplink: %s: %w", strings.TrimPrefix(op.Err.Error(), "tls: "), latchkey.ErrHandshakeRefused)
	}
	return err
}

// tls connects by one way and waits until the basestation has accepted our key.
func (d *dialer) tls(ctx context.Context, w way) (*Uplink, error) {
	conn, err := d.open(ctx, w, protocolCoAP)
	if err != nil {
		return nil, err
	}
	u := newUplink(OverTLS, w.to)
	l := &streamLeg{handler: d.cfg.Handler}
	l.stream = coap.NewStream(conn, coap.Config{Handler: l.handle, MaxBody: d.cfg.MaxBody, Log: d.cfg.Log})
	u.coap, u.stop = l.stream.Endpoint, l.stream.Close
	u.relay = func(ctx context.Context) (net.PacketConn, net.Addr, error) { return d.relayTLS(ctx, w) }
	u.group.Go(func() { l.watch(u.ctx) })
	u.group.Go(func() { u.end(l.serve(d.cfg.Key)) })
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	err = l.stream.Ping(ctx)
	if err == nil {
		return u, nil
	}
	u.Close()
	if cause := context.Cause(u.ctx); !errors.Is(cause, net.ErrClosed) {
		err = cause
	}
	return nil, err
}

// A streamLeg is CoAP on TLS, with what session.Session does for CoAP on DTLS.
type streamLeg struct {
	stream  *coap.Stream
	handler coap.Handler
	said    atomic.Uint32 // latchkey.Code of the basestation's last word
	silent  atomic.Bool   // it was not heard for too long
	probing atomic.Bool   // a probe is under way
}

// handle takes the basestation's last word (docs/protocol.md section 6), and
// passes on every other request.
func (l *streamLeg) handle(ctx context.Context, r *coap.Request) *coap.Response {
	switch {
	case r.Code == coap.POST && slices.Equal(r.Path, []string{"end"}) && len(r.Body) == 1 && r.Body[0] != 0:
		l.said.Store(uint32(r.Body[0]))
		l.stream.Close()
		return nil
	case l.handler == nil:
		return coap.NewResponse(coap.NotFound)
	}
	return l.handler(ctx, r)
}

// serve carries messages until the leg ends and returns the cause.
func (l *streamLeg) serve(peer latchkey.Fingerprint) error {
	err := l.stream.Serve()
	switch code := latchkey.Code(l.said.Load()); {
	case code != 0:
		return &latchkey.RemoteError{Op: "session", Peer: peer, Code: code}
	case l.silent.Load():
		return session.ErrSilent
	}
	return ending(refusal(err))
}

// watch ticks the endpoint and looks after the peer until ctx ends.
func (l *streamLeg) watch(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var probed time.Time
	var probes sync.WaitGroup
	defer probes.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.stream.Tick(now)
			silence := now.Sub(l.stream.LastHeard())
			switch {
			case silence >= lostAfter:
				l.silent.Store(true)
				l.stream.Close()
			case silence >= probeAfter && now.Sub(probed) >= probeEvery && l.probing.CompareAndSwap(false, true):
				probed = now
				probes.Go(func() { l.probe(ctx) }) // ends with its answer, probeEvery or the leg
			}
		}
	}
}

// probe sends one keep-alive; what counts is that anything at all is heard.
func (l *streamLeg) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	_ = l.stream.Ping(ctx) // silence is judged by LastHeard alone
	l.probing.Store(false)
}
