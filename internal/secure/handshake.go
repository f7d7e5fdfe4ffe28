package secure

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

const (
	flightInterval = 400 * time.Millisecond // before the first repetition; then it doubles
	replayWindow   = 4096                   // records
	mtu            = 1200                   // bytes of a handshake datagram
	// maxRestarts bounds how often a client begins anew.
	maxRestarts = 3
)

// A Handshake makes one association. Its methods are safe for concurrent use,
// except that Run is called once.
type Handshake struct {
	client bool
	cfg    Config
	send   func([]byte) error
	link   atomic.Pointer[link]

	mu      sync.Mutex
	refused error // why we refused the peer
	asked   bool  // the server asked for our certificate
}

// NewClient prepares the handshake of the side that speaks first. The send
// function takes each outgoing datagram; it must not block for long, and its
// errors count as loss.
func NewClient(cfg Config, send func([]byte) error) *Handshake { return newHandshake(cfg, send, true) }

// NewServer prepares the handshake of the side that answers.
func NewServer(cfg Config, send func([]byte) error) *Handshake { return newHandshake(cfg, send, false) }

func newHandshake(cfg Config, send func([]byte) error, client bool) *Handshake {
	h := &Handshake{client: client, cfg: cfg.withDefaults(client), send: send}
	h.link.Store(newLink(client, send))
	return h
}

// Deliver takes a datagram that arrived for the association, during the
// handshake and after, when it does what Conn.Deliver does. It copies what it
// keeps.
func (h *Handshake) Deliver(b []byte, m packet.Meta) { h.link.Load().deliver(b, m) }

// Run performs the handshake, which ctx and Config.Timeout bound. Its error
// matches latchkey.ErrHandshakeRefused if the peer refused our key,
// ErrNoProtocol if it shares no application protocol with us, the error of
// Config.Verify if that refused the peer, and otherwise what went wrong.
func (h *Handshake) Run(ctx context.Context) (*Conn, error) {
	if err := h.cfg.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		conn, err := h.run(ctx)
		if !h.client || attempt == maxRestarts || !again(err) {
			return conn, err
		}
		h.link.Store(newLink(true, h.send))
	}
}

// again reports whether a client's next attempt may fare better: the server asked
// for it, or what arrived did not fit. Until a handshake ends anybody can forge
// its messages, and a server repeats those of an earlier one that we gave up on
// the same port.
func again(err error) bool {
	var unfit *dtls.FatalError
	return errors.Is(err, errRestart) || errors.As(err, &unfit)
}

func (h *Handshake) run(ctx context.Context) (*Conn, error) {
	l := h.link.Load()
	var association *dtls.Conn
	var err error
	if h.client {
		association, err = dtls.ClientWithOptions(l, linkAddr{}, h.clientOptions(ctx)...)
	} else {
		association, err = dtls.ServerWithOptions(l, linkAddr{}, h.serverOptions(ctx)...)
	}
	if err != nil {
		return nil, fmt.Errorf("secure: %w", err)
	}
	if err = association.HandshakeContext(ctx); err == nil {
		var conn *Conn
		if conn, err = h.finish(association, l); err == nil {
			return conn, nil
		}
	}
	_ = association.Close()
	return nil, h.explain(ctx, l, err)
}

// finish makes the Conn of a finished handshake.
func (h *Handshake) finish(association *dtls.Conn, l *link) (*Conn, error) {
	state, ok := association.ConnectionState()
	if !ok {
		return nil, errors.New("secure: no state after the handshake")
	}
	peer, err := h.peer(&state, l)
	if err != nil {
		return nil, err
	}
	if h.client && !h.wasAsked() {
		return nil, errors.New("secure: peer did not ask for our certificate")
	}
	conn, err := newConn(association, l, &state, peer, h.cfg.Log)
	if err != nil {
		return nil, err
	}
	l.enter(open)
	return conn, nil
}

// peer judges what the library says of the other side.
func (h *Handshake) peer(state *dtls.State, l *link) (Peer, error) {
	key, public, err := peerKey(state.PeerCertificates)
	if err != nil {
		return Peer{}, err
	}
	if h.client && !slices.Contains(h.cfg.ALPN, state.NegotiatedProtocol) {
		return Peer{}, fmt.Errorf("peer chose %q: %w", state.NegotiatedProtocol, ErrNoProtocol)
	}
	return l.peer(Peer{
		Key: key, Public: public, ALPN: state.NegotiatedProtocol, Certificate: sha256.Sum256(state.PeerCertificates[0]),
	}), nil
}

// verify is called by the library when the peer has proved its key.
func (h *Handshake) verify(ctx context.Context, state *dtls.State) error {
	peer, err := h.peer(state, h.link.Load())
	if err == nil {
		err = ask(ctx, h.cfg.Verify, peer)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = err
	return err
}

// ask calls the hook on a goroutine of its own, so that one that hangs does
// not hold up the refusal; its late answer counts for nothing.
func ask(ctx context.Context, hook func(Peer) error, peer Peer) error {
	answer := make(chan error, 1)
	go func() { // ends with the hook
		defer func() {
			if r := recover(); r != nil {
				answer <- fmt.Errorf("secure: verification panicked: %v", r)
			}
		}()
		answer <- hook(peer)
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("secure: verification: %w", context.Cause(ctx))
	}
}

func (h *Handshake) refusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

func (h *Handshake) wasAsked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

func (h *Handshake) options(ctx context.Context) []dtls.Option {
	return []dtls.Option{
		dtls.WithCipherSuites(
			dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		),
		dtls.WithSignatureSchemes(tls.ECDSAWithP256AndSHA256),
		dtls.WithEllipticCurves(elliptic.X25519, elliptic.P256),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithSupportedProtocols(h.cfg.ALPN...),
		dtls.WithInsecureSkipVerify(true), // of names and issuers; the key is what we verify
		dtls.WithVerifyConnection(func(state *dtls.State) error { return h.verify(ctx, state) }),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithReplayProtectionWindow(replayWindow),
		dtls.WithMTU(mtu),
		dtls.WithLoggerFactory(newLoggers(h.cfg.Log)),
	}
}

func (h *Handshake) clientOptions(ctx context.Context) []dtls.ClientOption {
	var opts []dtls.ClientOption
	for _, o := range h.options(ctx) {
		opts = append(opts, o)
	}
	certificate := h.cfg.Identity.TLSCertificate()
	return append(opts, dtls.WithGetClientCertificate(func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.asked = true
		return &certificate, nil
	}))
}

func (h *Handshake) serverOptions(ctx context.Context) []dtls.ServerOption {
	var opts []dtls.ServerOption
	for _, o := range h.options(ctx) {
		opts = append(opts, o)
	}
	return append(opts,
		dtls.WithCertificates(h.cfg.Identity.TLSCertificate()),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(h.cfg.Proven),
	)
}
