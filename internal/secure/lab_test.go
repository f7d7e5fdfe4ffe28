//go:build lab

package secure

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

const exportLabel = "EXPORTER-latchkey-lab"

// run runs a program that must exist and must not fail.
func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// A foreignKey is a key and certificate that openssl made.
type foreignKey struct{ key, cert string }

func makeKey(t *testing.T, genpkey ...string) foreignKey {
	t.Helper()
	dir := t.TempDir()
	k := foreignKey{filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")}
	run(t, nil, "openssl", append([]string{"genpkey", "-out", k.key}, genpkey...)...)
	run(t, nil, "openssl", "req", "-new", "-x509", "-key", k.key, "-out", k.cert, "-subj", "/CN=lab", "-days", "1")
	return k
}

func makeP256(t *testing.T) foreignKey {
	return makeKey(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
}

// fingerprint is what openssl and sha256sum say of the key.
func (k foreignKey) fingerprint(t *testing.T) string {
	t.Helper()
	der := run(t, nil, "openssl", "pkey", "-in", k.key, "-pubout", "-outform", "der")
	return strings.Fields(string(run(t, der, "sha256sum")))[0]
}

// A program is a foreign one under way.
type program struct {
	stdin io.WriteCloser
	lines chan string
	all   strings.Builder
	mu    sync.Mutex
	done  chan error
}

// start starts a program that ends with the test at the latest.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p := &program{stdin: stdin, lines: make(chan string, 10000), done: make(chan error, 1)}
	var reading sync.WaitGroup
	reading.Go(func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.all.WriteString(s.Text() + "\n")
			p.mu.Unlock()
			p.lines <- s.Text()
		}
	})
	go func() {
		err := cmd.Wait()
		_ = in.Close()
		reading.Wait()
		p.done <- err
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		cancel()
		<-p.done
	})
	return p
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.String()
}

// await returns the first line that contains text.
func (p *program) await(t *testing.T, text string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if strings.Contains(line, text) {
				return line
			}
		case err := <-p.done:
			p.done <- err
			for len(p.lines) > 0 {
				if line := <-p.lines; strings.Contains(line, text) {
					return line
				}
			}
			t.Fatalf("ended (%v) without %q:\n%s", err, text, p.output())
		case <-limit:
			t.Fatalf("no %q in:\n%s", text, p.output())
		}
	}
}

func (p *program) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, text+"\n"); err != nil {
		t.Fatalf("%v:\n%s", err, p.output())
	}
}

// A lab is our Server on a real socket, which echoes.
type lab struct {
	*Server
	addr     netip.AddrPort
	accepted chan *Conn
}

func newLab(t *testing.T, cfg Config, limits Limits, lose func(b []byte) bool) *lab {
	t.Helper()
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{addr: sock.LocalAddrs()[0], accepted: make(chan *Conn, 10)}
	l.Server = &Server{
		Config: cfg, Limits: limits,
		Send: func(b []byte, to netip.AddrPort, from netip.Addr) error {
			if lose != nil && lose(b) {
				return nil
			}
			return sock.Send(b, to, from)
		},
		Accept: func(c *Conn) {
			l.accepted <- c
			_ = c.Serve(func(b []byte) { _, _ = c.Write(b) })
		},
	}
	served := make(chan error, 1)
	go func() { served <- sock.Serve(context.Background(), l.Deliver) }()
	t.Cleanup(func() {
		l.Close()
		_ = sock.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lab) next(t *testing.T) *Conn {
	t.Helper()
	select {
	case c := <-l.accepted:
		return c
	case <-time.After(patience):
		t.Fatal("no session")
		return nil
	}
}

func (l *lab) openssl(k foreignKey, args ...string) []string {
	args = append([]string{"s_client", "-dtls1_2", "-connect", l.addr.String(), "-keymatexport", exportLabel, "-keymatexportlen", "32"}, args...)
	if k.key != "" {
		args = append(args, "-cert", k.cert, "-key", k.key)
	}
	return args
}

func (l *lab) gnutls(k foreignKey, args ...string) []string {
	args = append([]string{
		"--udp", "--insecure", "--port", fmt.Sprint(l.addr.Port()), "--keymatexport", exportLabel, "--keymatexportsize", "32",
	}, args...)
	if k.key != "" {
		args = append(args, "--x509certfile", k.cert, "--x509keyfile", k.key)
	}
	return append(args, l.addr.Addr().String())
}

// TestForeignClients: openssl and gnutls-cli with good keys, under each suite
// and ALPN; their fingerprints and exported values are ours.
func TestForeignClients(t *testing.T) {
	key := makeP256(t)
	tests := []struct {
		name, program, alpn string
		args                []string
	}{
		{"openssl", "openssl", "latchkey/1", nil},
		{"openssl without ALPN", "openssl", "", nil},
		{"openssl as CoAP", "openssl", "co", nil},
		{"openssl AES-128", "openssl", "webrtc", []string{"-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"}},
		{"openssl CHACHA20", "openssl", "c-webrtc", []string{"-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}},
		{"openssl AES-256", "openssl", "latchkey/1", []string{"-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"}},
		{"openssl P-256 only", "openssl", "latchkey/1", []string{"-groups", "P-256"}},
		{"openssl small MTU", "openssl", "latchkey/1", []string{"-mtu", "300"}},
		{"gnutls", "gnutls-cli", "latchkey/1", nil},
		{"gnutls without ALPN", "gnutls-cli", "", nil},
		{"gnutls CHACHA20", "gnutls-cli", "co", []string{"--priority", "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305"}},
		{"gnutls AES-256", "gnutls-cli", "co", []string{"--priority", "NORMAL:-CIPHER-ALL:+AES-256-GCM"}},
	}
	l := newLab(t, anyone(t), Limits{}, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var args []string
			if tt.program == "openssl" {
				if args = tt.args; tt.alpn != "" {
					args = append(slices.Clone(args), "-alpn", tt.alpn)
				}
				args = l.openssl(key, args...)
			} else {
				if args = tt.args; tt.alpn != "" {
					args = append(slices.Clone(args), "--alpn", tt.alpn)
				}
				args = l.gnutls(key, args...)
			}
			p := start(t, tt.program, args...)
			c := l.next(t)
			if got, want := c.Peer().Key.String(), key.fingerprint(t); got != want {
				t.Errorf("fingerprint %s, openssl and sha256sum say %s", got, want)
			}
			if c.Peer().ALPN != tt.alpn {
				t.Errorf("ALPN %q", c.Peer().ALPN)
			}
			p.say(t, "a line for the echo")
			p.await(t, "a line for the echo")
			ours, err := c.Export(exportLabel, 32)
			if err != nil {
				t.Fatal(err)
			}
			if out := strings.ToLower(p.output()); !strings.Contains(out, hex.EncodeToString(ours)) {
				t.Errorf("we export %x, which is not in\n%s", ours, out)
			}
		})
	}
}

// TestForeignClientsAreRefused: every kind of certificate and protocol that the
// policy excludes, with a fatal alert that the foreign client hears.
func TestForeignClientsAreRefused(t *testing.T) {
	good := makeP256(t)
	p384 := makeKey(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
	rsa := makeKey(t, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	ed := makeKey(t, "-algorithm", "ED25519")
	cfg := anyone(t)
	paired := good.fingerprint(t)
	cfg.Verify = func(p Peer) error {
		if p.Key.String() != paired {
			return latchkey.ErrUnpaired
		}
		return nil
	}
	stranger := makeP256(t)
	tests := []struct {
		name string
		key  foreignKey
		args []string // of openssl
		also []string // of gnutls-cli
	}{
		{"no certificate", foreignKey{}, nil, nil},
		{"RSA", rsa, nil, nil},
		{"P-384", p384, nil, nil},
		{"Ed25519", ed, nil, nil},
		{"unpaired key", stranger, nil, nil},
		{"wrong ALPN", good, []string{"-alpn", "h2"}, []string{"--alpn", "h2"}},
		{"CBC", good, []string{"-cipher", "ECDHE-ECDSA-AES256-SHA"}, []string{"--priority", "NORMAL:-CIPHER-ALL:+AES-256-CBC"}},
	}
	l := newLab(t, cfg, Limits{}, nil)
	for _, tt := range tests {
		for name, args := range map[string][]string{
			"openssl":    l.openssl(tt.key, tt.args...),
			"gnutls-cli": l.gnutls(tt.key, append(tt.also, "-d", "5")...),
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				heard := "alert number"
				if name == "gnutls-cli" {
					heard = "Alert[2|" // level fatal
				}
				start(t, name, args...).await(t, heard)
			})
		}
	}
	if n := len(l.accepted); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// TestForeignClientRepeatsItsFlight loses our last flight twice.
func TestForeignClientRepeatsItsFlight(t *testing.T) {
	key := makeP256(t)
	for _, name := range []string{"openssl", "gnutls-cli"} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			losses := 0
			l := newLab(t, anyone(t), Limits{}, func(b []byte) bool {
				mu.Lock()
				defer mu.Unlock()
				last := slices.ContainsFunc(records(b), func(r record) bool { return r.epoch == 1 && r.kind == typeHandshake })
				if last {
					losses++
				}
				return last && losses <= 2
			})
			args := l.openssl(key, "-alpn", "latchkey/1")
			if name == "gnutls-cli" {
				args = l.gnutls(key, "--alpn", "latchkey/1")
			}
			p := start(t, name, args...)
			l.next(t)
			p.say(t, "after the loss")
			p.await(t, "after the loss")
			mu.Lock()
			defer mu.Unlock()
			if losses < 3 {
				t.Errorf("our last flight was sent %d times", losses)
			}
		})
	}
}

// TestForeignClientDuringFlood: a server busy with strangers takes a foreign
// client at its second attempt at the latest.
func TestForeignClientDuringFlood(t *testing.T) {
	key := makeP256(t)
	l := newLab(t, anyone(t), Limits{HalfOpen: 4, Unproven: time.Hour}, nil)
	template := hello(t)
	for i := range 100 {
		b := slices.Clone(template)
		b[headerSize+handshakeHeader+2] = byte(i)
		source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 9, 9, byte(i)}), 9)
		l.Deliver(b, packet.Meta{Src: source, Dst: l.addr.Addr()})
	}
	for _, name := range []string{"openssl", "gnutls-cli"} {
		args := l.openssl(key, "-alpn", "latchkey/1", "-bind", "127.0.0.1:45690")
		if name == "gnutls-cli" {
			args = l.gnutls(key, "--alpn", "latchkey/1")
		}
		first := start(t, name, args...)
		select {
		case err := <-first.done:
			first.done <- err
			if err == nil {
				t.Errorf("%s: no cookie was asked for:\n%s", name, first.output())
			}
		case <-time.After(patience):
			t.Fatalf("%s was not told to begin anew:\n%s", name, first.output())
		}
		if name == "gnutls-cli" {
			continue // it cannot keep its port
		}
		second := start(t, name, args...)
		l.next(t)
		second.say(t, "second attempt")
		second.await(t, "second attempt")
	}
}

// dial runs our client with a foreign server.
func dial(t *testing.T, cfg Config, to netip.AddrPort) (*session, error) {
	t.Helper()
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := NewClient(cfg, func(b []byte) error { return sock.Send(b, to, netip.Addr{}) })
	served := make(chan error, 1)
	go func() { served <- sock.Serve(context.Background(), h.Deliver) }()
	t.Cleanup(func() { _ = sock.Close(); <-served })
	conn, err := h.Run(t.Context())
	if err != nil {
		return nil, err
	}
	return serve(t, conn), nil
}

// freePort finds a port that was free a moment ago.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	return sock.LocalAddrs()[0]
}

// TestForeignServers: our client at openssl s_server and gnutls-serv.
func TestForeignServers(t *testing.T) {
	p384 := makeKey(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
	rsa := makeKey(t, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	tests := []struct {
		name, alpn string
		key        foreignKey
		ask        bool   // for our certificate
		refused    string // in the error; "" is success
	}{
		{"P-256", Protocol, makeP256(t), true, ""},
		{"other ALPN", "h2", makeP256(t), true, "protocol"},
		{"no ALPN", "", makeP256(t), true, "protocol"},
		{"P-384", Protocol, p384, true, "secure: "}, // refused by it or by us
		{"RSA", Protocol, rsa, true, "handshake"},   // it has no suite for us
		{"asks for no certificate", Protocol, makeP256(t), false, "did not ask"},
	}
	for _, tt := range tests {
		for _, name := range []string{"openssl", "gnutls-serv"} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				to := freePort(t)
				args := []string{"s_server", "-dtls1_2", "-accept", to.String(), "-cert", tt.key.cert, "-key", tt.key.key}
				ready := "ACCEPT"
				if name == "gnutls-serv" {
					args = []string{"--udp", "--echo", "--port", fmt.Sprint(to.Port()), "--x509certfile", tt.key.cert, "--x509keyfile", tt.key.key}
					ready = "Echo Server listening"
				}
				switch {
				case tt.alpn == "":
				case name == "openssl":
					args = append(args, "-alpn", tt.alpn)
				default:
					args = append(args, "--alpn", tt.alpn)
				}
				switch {
				case name == "openssl" && tt.ask:
					args = append(args, "-Verify", "1")
				case name == "gnutls-serv" && !tt.ask:
					args = append(args, "--disable-client-cert")
				}
				p := start(t, name, args...)
				p.await(t, ready)
				cfg := anyone(t)
				cfg.Timeout = 10 * time.Second
				c, err := dial(t, cfg, to)
				if tt.refused != "" {
					if err == nil || !strings.Contains(err.Error(), tt.refused) {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatalf("%v:\n%s", err, p.output())
				}
				if got, want := c.Peer().Key.String(), tt.key.fingerprint(t); got != want {
					t.Errorf("fingerprint %s, openssl and sha256sum say %s", got, want)
				}
				if _, err := c.Write([]byte("hello, stranger\n")); err != nil {
					t.Fatal(err)
				}
				if name == "openssl" {
					p.await(t, "hello, stranger")
					p.say(t, "hello yourself")
				}
				select {
				case <-c.got:
				case <-time.After(patience):
					t.Errorf("no answer:\n%s", p.output())
				}
			})
		}
	}
}
