//go:build lab

package coap

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// selfSigned returns a certificate as crypto/tls takes it, and as files of the
// certificate and the key.
func selfSigned(t *testing.T, name string) (tls.Certificate, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	spelled, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := file(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	private := file(t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: spelled}))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, cert, private
}

// TestStreamLibcoapClient moves bodies of several sizes with libcoap's clients
// over TLS, each with a certificate of its own.
func TestStreamLibcoapClient(t *testing.T) {
	for _, program := range []string{"coap-client-openssl", "coap-client-gnutls"} {
		t.Run(program, func(t *testing.T) {
			ours, _, _ := selfSigned(t, "localhost")
			theirs, cert, key := selfSigned(t, "client")
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				Certificates: []tls.Certificate{ours}, ClientAuth: tls.RequireAnyClientCert,
				NextProtos: []string{"coap"}, MinVersion: tls.VersionTLS12,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s := &shelf{bodies: map[string][]byte{}, source: newSource()}
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					c := conn.(*tls.Conn)
					if err := c.HandshakeContext(t.Context()); err != nil {
						t.Error(err)
						continue
					}
					if state := c.ConnectionState(); state.NegotiatedProtocol != "coap" ||
						!bytes.Equal(state.PeerCertificates[0].Raw, theirs.Certificate[0]) {
						t.Errorf("protocol %q, or another certificate", state.NegotiatedProtocol)
					}
					go func() { _ = NewStream(c, Config{Handler: s.handle, Log: quiet}).Serve() }()
				}
			}()
			run := func(args ...string) string {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				args = append([]string{"-B", "10", "-n", "-c", cert, "-j", key}, args...)
				args[len(args)-1] = "coaps+tcp://" + l.Addr().String() + "/" + args[len(args)-1]
				out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				return string(out)
			}
			for _, n := range []int{1, 100, 1000} {
				body := noise(n)
				said := run("-m", "put", "-f", file(t, body), "put")
				if got := s.get("put"); !bytes.Equal(got, body) {
					t.Errorf("put of %d: %d arrived; %s", n, len(got), said)
				}
			}
			for _, n := range []int{1, 1024, 1025, 20_000} {
				body := noise(n)
				s.mu.Lock()
				s.bodies["get"] = body
				s.mu.Unlock()
				out := filepath.Join(t.TempDir(), "out")
				said := run("-o", out, "get")
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, body) {
					t.Errorf("get of %d: %d came; %v %s", n, len(got), err, said)
				}
			}
		})
	}
}
