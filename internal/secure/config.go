package secure

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"log/slog"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// ALPN values (RFC 7301). Our own peers offer Protocol; the others are what
// WebRTC stacks (RFC 8833) and CoAP over DTLS clients (RFC 9952) offer.
const (
	Protocol       = "latchkey/1"
	protocolWebRTC = "webrtc"
	protocolCWeb   = "c-webrtc"
	protocolCoAP   = "co"
)

// DefaultTimeout bounds a whole handshake.
const DefaultTimeout = 10 * time.Second

// ErrNoProtocol reports that the two sides have no application protocol in
// common (ALPN).
var ErrNoProtocol = errors.New("secure: no application protocol in common")

// Config says who we are and whom we accept. It is copied, never written to.
type Config struct {
	// Identity is the key that we prove. Required.
	Identity *latchkey.Identity
	// Verify decides on the peer; an error refuses it with a fatal alert. On
	// the server it is called once CertificateVerify and Finished are checked.
	// On the client it is called once the server has proved its key by the
	// signature over its key exchange, before our own certificate leaves; the
	// Finished is checked afterwards and before a Conn exists. A panic refuses,
	// and so does an answer after the handshake's time is up. Required.
	Verify func(Peer) error
	// ALPN is what a client offers, one of which the server must choose; the
	// default is Protocol. A server accepts a client that offers none, and
	// chooses the first of its own list that is offered; the default is
	// Protocol, then webrtc, c-webrtc and co.
	ALPN []string
	// Proven says, on the server, that the path has proved the client's address
	// already, as ICE does. Then no HelloVerifyRequest is sent, which saves a
	// round trip.
	Proven bool
	// Timeout bounds the whole handshake; 0 is DefaultTimeout.
	Timeout time.Duration
	// Log gets the DTLS library's own words at debug level, a few per second.
	// Nil is slog.Default().
	Log *slog.Logger
}

// A Peer is what a handshake proved and observed.
type Peer struct {
	Key    latchkey.Fingerprint // the proven key
	Public *ecdsa.PublicKey     // the key itself
	ALPN   string               // the application protocol; "" if the client offered none
	Meta   packet.Meta          // of the datagram that carried the peer's Finished
	// HopLimit255 reports that every datagram of the handshake came with hop
	// limit 255, through one interface, to one address of ours (RFC 5082).
	HopLimit255 bool
	// Certificate is the SHA-256 of the certificate (DER) that carried the key.
	// Any holder of the key can make others; it matters to what names one.
	Certificate [sha256.Size]byte
}

func (c Config) withDefaults(client bool) Config {
	if len(c.ALPN) == 0 {
		c.ALPN = []string{Protocol}
		if !client {
			c.ALPN = append(c.ALPN, protocolWebRTC, protocolCWeb, protocolCoAP)
		}
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Identity == nil:
		return errors.New("secure: Config.Identity is required")
	case c.Verify == nil:
		return errors.New("secure: Config.Verify is required")
	}
	return nil
}
