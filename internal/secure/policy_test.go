package secure

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// certificate makes a self-signed certificate around any key.
func certificate(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Now().Add(100 * 365 * 24 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// stranger are the options of a peer that is not ours: the library with its
// own defaults.
func stranger(options ...dtls.Option) []dtls.Option {
	return append([]dtls.Option{
		dtls.WithInsecureSkipVerify(true),
		dtls.WithSupportedProtocols(Protocol),
		dtls.WithLoggerFactory(newLoggers(quiet)),
	}, options...)
}

// foreignClient runs a stranger's handshake with our server.
func foreignClient(t *testing.T, server Config, options ...dtls.Option) (serverErr, clientErr error) {
	t.Helper()
	var h *Handshake
	l := newLink(true, func(b []byte) error { h.Deliver(b, packet.Meta{}); return nil })
	h = NewServer(server, func(b []byte) error { l.deliver(b, packet.Meta{}); return nil })
	var opts []dtls.ClientOption
	for _, o := range stranger(options...) {
		opts = append(opts, o)
	}
	c, err := dtls.ClientWithOptions(l, linkAddr{}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return race(t, h, c)
}

// foreignServer runs our client's handshake with a stranger.
func foreignServer(t *testing.T, client Config, auth dtls.ClientAuthType, options ...dtls.Option) (clientErr, serverErr error) {
	t.Helper()
	var h *Handshake
	l := newLink(false, func(b []byte) error { h.Deliver(b, packet.Meta{}); return nil })
	h = NewClient(client, func(b []byte) error { l.deliver(b, packet.Meta{}); return nil })
	opts := []dtls.ServerOption{dtls.WithClientAuth(auth)}
	for _, o := range stranger(options...) {
		opts = append(opts, o)
	}
	s, err := dtls.ServerWithOptions(l, linkAddr{}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return race(t, h, s)
}

// race runs both ends until one has failed or both have finished.
func race(t *testing.T, h *Handshake, foreign *dtls.Conn) (ours, theirs error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- foreign.HandshakeContext(ctx) }()
	conn, ours := h.Run(ctx)
	theirs = <-done
	if conn != nil {
		_ = conn.Close()
	}
	_ = foreign.Close()
	return ours, theirs
}

// keyCases are certificates that are refused.
func keyCases(t *testing.T) map[string]tls.Certificate {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two := certificate(t, ecKey(t, elliptic.P256()), nil)
	two.Certificate = append(two.Certificate, certificate(t, ecKey(t, elliptic.P256()), nil).Certificate[0])
	return map[string]tls.Certificate{
		"RSA":              certificate(t, rsaKey(t), nil),
		"P-224":            certificate(t, ecKey(t, elliptic.P224()), nil),
		"P-384":            certificate(t, ecKey(t, elliptic.P384()), nil),
		"P-521":            certificate(t, ecKey(t, elliptic.P521()), nil),
		"Ed25519":          certificate(t, ed, nil),
		"two certificates": two,
		"no certificate":   {},
		"garbage":          {Certificate: [][]byte{{1, 2, 3}}, PrivateKey: ecKey(t, elliptic.P256())},
		"other key":        {Certificate: certificate(t, ecKey(t, elliptic.P256()), nil).Certificate, PrivateKey: ecKey(t, elliptic.P256())},
	}
}

func TestServerRefusesKeys(t *testing.T) {
	for name, cert := range keyCases(t) {
		t.Run(name, func(t *testing.T) {
			server := anyone(t)
			server.Verify = func(p Peer) error {
				t.Errorf("asked about %v", p.Key)
				return nil
			}
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := foreignClient(t, server, dtls.WithGetClientCertificate(
					func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }))
				if ours == nil || theirs == nil {
					t.Errorf("server: %v; client: %v", ours, theirs)
				}
			})
		})
	}
}

func TestClientRefusesKeys(t *testing.T) {
	for name, cert := range keyCases(t) {
		if name == "no certificate" {
			continue // a server cannot do without
		}
		t.Run(name, func(t *testing.T) {
			client := anyone(t)
			client.Verify = func(p Peer) error {
				t.Errorf("asked about %v", p.Key)
				return nil
			}
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := foreignServer(t, client, dtls.RequireAnyClientCert, dtls.WithCertificates(cert))
				if ours == nil || theirs == nil {
					t.Errorf("client: %v; server: %v", ours, theirs)
				}
			})
		})
	}
}

// TestPackagingIsIgnored accepts certificates whose dates, names and issuers
// make no sense, and finds one fingerprint for one key.
func TestPackagingIsIgnored(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	want, err := latchkey.FingerprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*x509.Certificate){
		"plain":      nil,
		"expired":    func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) },
		"from later": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) },
		"authority":  func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
		"no use":     func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"many names": func(c *x509.Certificate) { c.DNSNames = strings.Split(strings.Repeat("example.org ", 500), " ")[:500] },
	} {
		t.Run(name, func(t *testing.T) {
			cert := certificate(t, key, change)
			var got []latchkey.Fingerprint
			note := func(p Peer) error {
				got = append(got, p.Key)
				return nil
			}
			client, server := anyone(t), anyone(t)
			client.Verify, server.Verify = note, note
			synctest.Test(t, func(t *testing.T) {
				if ours, theirs := foreignClient(t, server, dtls.WithCertificates(cert)); ours != nil || theirs != nil {
					t.Errorf("server: %v; client: %v", ours, theirs)
				}
				if ours, theirs := foreignServer(t, client, dtls.RequireAnyClientCert, dtls.WithCertificates(cert)); ours != nil || theirs != nil {
					t.Errorf("client: %v; server: %v", ours, theirs)
				}
			})
			if len(got) != 2 || got[0] != want || got[1] != want {
				t.Errorf("fingerprints %v, want twice %v", got, want)
			}
		})
	}
}

// TestParameters refuses peers that lack what we insist on.
func TestParameters(t *testing.T) {
	cert := certificate(t, ecKey(t, elliptic.P256()), nil)
	refused := map[string]dtls.Option{
		"no extended master secret": dtls.WithExtendedMasterSecret(dtls.DisableExtendedMasterSecret),
		"CBC only":                  dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA),
		"CCM only":                  dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM),
		"SHA-384 signatures only":   dtls.WithSignatureSchemes(tls.ECDSAWithP384AndSHA384),
		"other protocol":            dtls.WithSupportedProtocols("h2"),
	}
	accepted := map[string]dtls.Option{
		"defaults":          dtls.WithMTU(1200),
		"AES-128-GCM":       dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		"CHACHA20-POLY1305": dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
		"AES-256-GCM":       dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
	}
	for name, option := range refused {
		t.Run(name, func(t *testing.T) {
			client, server := anyone(t), anyone(t)
			synctest.Test(t, func(t *testing.T) {
				if ours, theirs := foreignClient(t, server, dtls.WithCertificates(cert), option); ours == nil || theirs == nil {
					t.Errorf("server: %v; client: %v", ours, theirs)
				}
				if ours, theirs := foreignServer(t, client, dtls.RequireAnyClientCert, dtls.WithCertificates(cert), option); ours == nil || theirs == nil {
					t.Errorf("client: %v; server: %v", ours, theirs)
				}
			})
		})
	}
	for name, option := range accepted {
		t.Run(name, func(t *testing.T) {
			client, server := anyone(t), anyone(t)
			synctest.Test(t, func(t *testing.T) {
				if ours, theirs := foreignClient(t, server, dtls.WithCertificates(cert), option); ours != nil || theirs != nil {
					t.Errorf("server: %v; client: %v", ours, theirs)
				}
				if ours, theirs := foreignServer(t, client, dtls.RequireAnyClientCert, dtls.WithCertificates(cert), option); ours != nil || theirs != nil {
					t.Errorf("client: %v; server: %v", ours, theirs)
				}
			})
		})
	}
}

// TestServerMustAskForOurKey refuses a server that would take anybody.
func TestServerMustAskForOurKey(t *testing.T) {
	cert := certificate(t, ecKey(t, elliptic.P256()), nil)
	client := anyone(t)
	synctest.Test(t, func(t *testing.T) {
		ours, _ := foreignServer(t, client, dtls.NoClientCert, dtls.WithCertificates(cert))
		if ours == nil || !strings.Contains(ours.Error(), "did not ask") {
			t.Errorf("got %v", ours)
		}
	})
}

func TestProtocols(t *testing.T) {
	tests := []struct {
		client, server []string // nil is the default
		want           string   // "" if none is in common
	}{
		{nil, nil, "latchkey/1"},
		{[]string{"webrtc"}, nil, "webrtc"},
		{[]string{"c-webrtc"}, nil, "c-webrtc"},
		{[]string{"co"}, nil, "co"},
		{[]string{"h2", "co"}, nil, "co"},
		{[]string{"co", "latchkey/1"}, nil, "latchkey/1"},
		{[]string{"latchkey/2"}, nil, ""},
		{[]string{"LATCHKEY/1"}, nil, ""},
		{[]string{"x"}, []string{"y"}, ""},
		{[]string{"y"}, []string{"x", "y"}, "y"},
	}
	for _, tt := range tests {
		client, server := anyone(t), anyone(t)
		client.ALPN, server.ALPN = tt.client, tt.server
		c, s, clientErr, serverErr := newDuo(client, server).run(t.Context())
		switch {
		case tt.want == "":
			if !errors.Is(clientErr, ErrNoProtocol) || serverErr == nil {
				t.Errorf("%v to %v: client: %v; server: %v", tt.client, tt.server, clientErr, serverErr)
			}
		case clientErr != nil || serverErr != nil:
			t.Errorf("%v to %v: client: %v; server: %v", tt.client, tt.server, clientErr, serverErr)
		case c.Peer().ALPN != tt.want || s.Peer().ALPN != tt.want:
			t.Errorf("%v to %v: %q and %q, want %q", tt.client, tt.server, c.Peer().ALPN, s.Peer().ALPN, tt.want)
		}
		for _, conn := range []*Conn{c, s} {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
}

// TestNoProtocol: a server takes a client without ALPN, a client does not take
// a server that chooses none.
func TestNoProtocol(t *testing.T) {
	cert := certificate(t, ecKey(t, elliptic.P256()), nil)
	server := anyone(t)
	alpn := "unset"
	server.Verify = func(p Peer) error { alpn = p.ALPN; return nil }
	var h *Handshake
	l := newLink(true, func(b []byte) error { h.Deliver(b, packet.Meta{}); return nil })
	h = NewServer(server, func(b []byte) error { l.deliver(b, packet.Meta{}); return nil })
	c, err := dtls.ClientWithOptions(l, linkAddr{}, dtls.WithInsecureSkipVerify(true), dtls.WithCertificates(cert))
	if err != nil {
		t.Fatal(err)
	}
	if ours, theirs := race(t, h, c); ours != nil || theirs != nil || alpn != "" {
		t.Errorf("server: %v; client: %v; protocol %q", ours, theirs, alpn)
	}

	l = newLink(false, func(b []byte) error { h.Deliver(b, packet.Meta{}); return nil })
	h = NewClient(anyone(t), func(b []byte) error { l.deliver(b, packet.Meta{}); return nil })
	s, err := dtls.ServerWithOptions(l, linkAddr{}, dtls.WithCertificates(cert), dtls.WithClientAuth(dtls.RequireAnyClientCert))
	if err != nil {
		t.Fatal(err)
	}
	if ours, _ := race(t, h, s); !errors.Is(ours, ErrNoProtocol) {
		t.Errorf("client: %v", ours)
	}
}

func TestRefusals(t *testing.T) {
	reason := errors.New("not tonight")
	refuse := func(Peer) error { return reason }
	tests := []struct {
		name   string
		change func(client, server *Config)
		client error // what the client's error matches
		server error
	}{
		{"by the server", func(_, s *Config) { s.Verify = refuse }, latchkey.ErrHandshakeRefused, reason},
		{"by the client", func(c, _ *Config) { c.Verify = refuse }, reason, latchkey.ErrHandshakeRefused},
		{"server panics", func(_, s *Config) { s.Verify = func(Peer) error { panic("oh") } }, latchkey.ErrHandshakeRefused, nil},
		{"client panics", func(c, _ *Config) { c.Verify = func(Peer) error { panic(io.EOF) } }, nil, latchkey.ErrHandshakeRefused},
	}
	for _, tt := range tests {
		client, server := anyone(t), anyone(t)
		tt.change(&client, &server)
		c, s, clientErr, serverErr := newDuo(client, server).run(t.Context())
		if c != nil || s != nil {
			t.Errorf("%s: there is a session", tt.name)
		}
		if clientErr == nil || tt.client != nil && !errors.Is(clientErr, tt.client) {
			t.Errorf("%s: client: %v", tt.name, clientErr)
		}
		if serverErr == nil || tt.server != nil && !errors.Is(serverErr, tt.server) {
			t.Errorf("%s: server: %v", tt.name, serverErr)
		}
	}
}

// TestSlowVerify asks a hook that never answers in time.
func TestSlowVerify(t *testing.T) {
	for _, atServer := range []bool{false, true} {
		client, server := anyone(t), anyone(t)
		synctest.Test(t, func(t *testing.T) {
			slow := func(Peer) error { time.Sleep(time.Hour); return nil }
			slowSide, other := &client, &server
			if atServer {
				slowSide, other = &server, &client
			}
			slowSide.Verify, slowSide.Timeout, other.Timeout = slow, 5*time.Second, time.Minute
			start := time.Now()
			c, s, clientErr, serverErr := newDuo(client, server).run(t.Context())
			if c != nil || s != nil || clientErr == nil || serverErr == nil {
				t.Errorf("client: %v, %v; server: %v, %v", c, clientErr, s, serverErr)
			}
			slowErr, otherErr := clientErr, serverErr
			if atServer {
				slowErr, otherErr = serverErr, clientErr
			}
			if !errors.Is(slowErr, context.DeadlineExceeded) || !errors.Is(otherErr, latchkey.ErrHandshakeRefused) {
				t.Errorf("slow side: %v; other side: %v", slowErr, otherErr)
			}
			if d := time.Since(start); d != 5*time.Second {
				t.Errorf("refused after %v", d)
			}
			time.Sleep(time.Hour) // until the hook has answered after all
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{}, {Identity: newIdentity(t)}, {Verify: func(Peer) error { return nil }}} {
		if _, err := NewClient(cfg, nil).Run(t.Context()); err == nil {
			t.Errorf("a client without identity or hook: %+v", cfg)
		}
		if _, err := NewServer(cfg, nil).Run(t.Context()); err == nil {
			t.Errorf("a server without identity or hook: %+v", cfg)
		}
	}
}
