package uplink

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/session"
)

var large = strings.Repeat("0123456789", 2000)

func TestOverUDP(t *testing.T) {
	s := newStation(t)
	cfg := config(t, s)
	u := dial(t, cfg)
	if u.Transport() != OverUDP || u.Remote().String() != s.addr {
		t.Errorf("%s to %s", u.Transport(), u.Remote())
	}
	echo(t, u, "small")
	echo(t, u, large)
	if keys := s.seen(); len(keys) != 1 || keys[0] != cfg.Identity.Fingerprint() {
		t.Error("the basestation saw the keys", keys)
	}
	u.Close()
	if err := cause(t, u); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	u.Close()
}

func TestOverTLSWhereUDPIsBlocked(t *testing.T) {
	s := newStation(t)
	s.deaf.Store(true)
	cfg := config(t, s)
	u := dial(t, cfg)
	if u.Transport() != OverTLS || u.Remote().String() != s.addr {
		t.Errorf("%s to %s", u.Transport(), u.Remote())
	}
	echo(t, u, "small")
	echo(t, u, large)
	if keys := s.seen(); len(keys) != 1 || keys[0] != cfg.Identity.Fingerprint() {
		t.Error("the basestation saw the keys", keys)
	}
	u.Close()
	if err := cause(t, u); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// A network that refuses UDP at once does not cost the 400 ms.
func TestUnreachableByUDP(t *testing.T) {
	s := newStation(t)
	cfg := config(t, s)
	cfg.Socket.(*socket).err = syscall.ENETUNREACH
	if u := dial(t, cfg); u.Transport() != OverTLS {
		t.Error(u.Transport())
	}
	cfg.Transports = UDP
	if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrUnreachable) ||
		!errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestOneTransportOnly(t *testing.T) {
	s := newStation(t)
	for transports, want := range map[Transports]string{UDP: OverUDP, TLS: OverTLS} {
		cfg := config(t, s)
		cfg.Transports = transports
		if u := dial(t, cfg); u.Transport() != want {
			t.Errorf("%s, want %s", u.Transport(), want)
		}
	}
	cfg := config(t, s)
	cfg.Socket = nil
	if u := dial(t, cfg); u.Transport() != OverTLS {
		t.Error(u.Transport())
	}
}

// hole returns an address where nothing answers: UDP is swallowed, and TCP
// connections are taken and left alone.
func hole(t *testing.T) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	return udp.LocalAddr().String()
}

func TestOtherAddressFirst(t *testing.T) {
	s := newStation(t)
	for _, c := range []struct {
		name, addr string
	}{
		{"nobody answers", hole(t)},
		{"no such name", "latchkey.invalid:5684"},
		{"no address", "nonsense"},
		{"a name of several addresses", "localhost:" + strings.TrimPrefix(s.addr, "127.0.0.1:")},
		{"port 0", "127.0.0.1:0"},
		{"the same again", s.addr},
	} {
		for _, transports := range []Transports{UDP, TLS} {
			cfg := config(t, s, c.addr)
			cfg.Transports = transports
			u := dial(t, cfg)
			if u.Remote().String() != s.addr {
				t.Errorf("%s: connected to %s", c.name, u.Remote())
			}
			echo(t, u, "hello")
			u.Close()
		}
	}
}

func TestWrongKey(t *testing.T) {
	s := newStation(t)
	for _, transports := range []Transports{Auto, UDP, TLS} {
		cfg := config(t, s)
		cfg.Transports = transports
		cfg.Key = identity(t).Fingerprint()
		_, err := Dial(t.Context(), cfg)
		var key *KeyError
		if !errors.Is(err, latchkey.ErrIdentityChanged) || !errors.As(err, &key) ||
			key.Got != s.id.Fingerprint() || key.Want != cfg.Key || errors.Is(err, ErrUnreachable) {
			t.Errorf("transports %d: %v", transports, err)
		}
	}
	if len(s.seen()) != 0 {
		t.Error("our key was shown to the wrong basestation")
	}
}

// Who breaks TLS open on the way has a key of its own, of any kind.
func TestInterception(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	s := newStation(t)
	cfg := config(t, s)
	cfg.Transports, cfg.Addrs = TLS, []string{l.Addr().String()}
	var wrong *KeyError
	if _, err := Dial(t.Context(), cfg); !errors.As(err, &wrong) || !wrong.Got.IsZero() {
		t.Error(err)
	}
	_ = l.Close()
	<-done
}

// With a pretender first in the list, the right basestation is still found.
func TestPretenderFirst(t *testing.T) {
	s, pretender := newStation(t), newStation(t)
	for _, transports := range []Transports{Auto, UDP, TLS} {
		cfg := config(t, s, pretender.addr)
		cfg.Transports = transports
		u := dial(t, cfg)
		if u.Remote().String() != s.addr {
			t.Error(u.Remote())
		}
	}
}

func TestRefused(t *testing.T) {
	s := newStation(t)
	s.refuse.Store(true)
	for _, transports := range []Transports{Auto, UDP, TLS} {
		cfg := config(t, s)
		cfg.Transports = transports
		_, err := Dial(t.Context(), cfg)
		if !errors.Is(err, latchkey.ErrHandshakeRefused) || errors.Is(err, ErrUnreachable) || errors.Is(err, latchkey.ErrIdentityChanged) {
			t.Errorf("transports %d: %v", transports, err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	s := newStation(t)
	cfg := config(t, s)
	cfg.Addrs = []string{"latchkey.invalid:5684"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for _, addr := range []string{"latchkey.invalid:5684", l.Addr().String()} {
		cfg.Addrs, cfg.Transports = []string{addr}, TLS
		if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrUnreachable) || errors.Is(err, latchkey.ErrHandshakeRefused) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestDialGivesUp(t *testing.T) {
	s := newStation(t)
	cfg := config(t, s)
	cfg.Addrs = []string{hole(t)}
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(600*time.Millisecond, func() { cancel(enough) })
	defer timer.Stop()
	if _, err := Dial(ctx, cfg); !errors.Is(err, enough) {
		t.Error(err)
	}
	if _, err := Dial(ctx, cfg); !errors.Is(err, enough) {
		t.Error("when it had ended:", err)
	}
}

// Who comes second is closed, and race waits for who is under way.
func TestRace(t *testing.T) {
	var closed []string
	uplink := func(name string) *Uplink {
		u := newUplink(name, netip.AddrPort{})
		u.stop = func() { closed = append(closed, name) }
		return u
	}
	late := make(chan struct{})
	u, err := race(t.Context(), time.Millisecond, []attempt{
		func(ctx context.Context) (*Uplink, error) {
			<-ctx.Done()
			defer close(late)
			return uplink("late"), nil
		},
		func(context.Context) (*Uplink, error) { return nil, errors.New("no") },
		func(context.Context) (*Uplink, error) { return uplink("first"), nil },
	})
	if err != nil || u.Transport() != "first" {
		t.Fatal(u, err)
	}
	<-late
	if len(closed) != 1 || closed[0] != "late" {
		t.Error("closed", closed)
	}
	one, two := errors.New("one"), errors.New("two")
	_, err = race(t.Context(), time.Hour, []attempt{
		func(context.Context) (*Uplink, error) { return nil, one },
		func(context.Context) (*Uplink, error) { return nil, two },
	})
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Error(err)
	}
}

// Two names of one address share one attempt, as they share what comes from it.
func TestSameAddressTwice(t *testing.T) {
	s := newStation(t)
	s.deaf.Store(true)
	cfg := config(t, s, s.addr, s.addr)
	cfg.Transports = UDP
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Dial(ctx, cfg); !errors.Is(err, errTwice) {
		t.Error(err)
	}
}

func TestGoodbye(t *testing.T) {
	end := []byte("\x50\x02\xff\xff\xb3end\xff\x16")
	s := newStation(t)
	for _, c := range []struct {
		name       string
		transports Transports
		end        func()
		want       error
	}{
		{"udp, reason", UDP, func() {
			for _, x := range all(s, s.sessions) {
				x.Close(latchkey.ErrRevoked)
			}
		}, latchkey.ErrRevoked},
		{"udp, no reason", UDP, func() {
			for _, x := range all(s, s.sessions) {
				x.Close(nil)
			}
		}, session.ErrEnded},
		{"tls, reason", TLS, func() {
			for _, x := range all(s, s.streams) {
				_ = x.Send(end)
				x.Close()
			}
		}, latchkey.ErrReplaced},
		{"tls, no reason", TLS, func() {
			for _, x := range all(s, s.streams) {
				x.Close()
			}
		}, session.ErrEnded},
		{"tls, connection cut", TLS, func() {
			for _, c := range all(s, s.conns) {
				_ = c.Close()
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, s)
			cfg.Transports = c.transports
			u := dial(t, cfg)
			echo(t, u, "hello")
			c.end()
			err := cause(t, u)
			if c.want != nil && !errors.Is(err, c.want) || errors.Is(err, net.ErrClosed) {
				t.Errorf("cause %v, want %v", err, c.want)
			}
			eventually(t, "the station is empty", func() bool { udp, tls := s.live(); return udp+tls == 0 })
		})
	}
}

// A proxy is an HTTP proxy that knows CONNECT.
type proxy struct {
	net.Listener
	want  string // Proxy-Authorization
	mu    sync.Mutex
	asked []string
	group sync.WaitGroup
}

func newProxy(t *testing.T, want string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, want: want}
	p.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); p.group.Wait() })
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r.Host)
	p.mu.Unlock()
	if r.Header.Get("Proxy-Authorization") != p.want {
		fmt.Fprint(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		fmt.Fprint(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer to.Close()
	fmt.Fprint(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, in)
		_ = to.Close()
	}()
	_, _ = io.Copy(c, to)
	_ = c.Close()
	<-done
}

func (p *proxy) as(user *url.Userinfo) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) {
		return &url.URL{Scheme: "http", User: user, Host: p.Addr().String()}, nil
	}
}

// What an honest server never does: it speaks before we greeted.
func TestProxySpeaksFirst(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\nhello")
		}
	}()
	s := newStation(t)
	cfg := config(t, s)
	cfg.Transports, cfg.Proxy = TLS, (&proxy{Listener: l}).as(nil)
	if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrProxy) || !errors.Is(err, latchkey.ErrProtocol) {
		t.Error(err)
	}
	_ = l.Close()
	<-done
}

func TestThroughProxy(t *testing.T) {
	const secret = "s3cret word"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+secret))
	s := newStation(t)
	open, closed := newProxy(t, ""), newProxy(t, basic)
	for _, c := range []struct {
		name   string
		proxy  func(*url.URL) (*url.URL, error)
		addr   string
		status int // of a refusal
		cause  error
	}{
		{"open", open.as(nil), s.addr, 0, nil},
		{"credentials", closed.as(url.UserPassword("me", secret)), s.addr, 0, nil},
		{"wrong credentials", closed.as(url.UserPassword("you", secret)), s.addr, 407, ErrProxy},
		{"no credentials", closed.as(nil), s.addr, 407, ErrProxy},
		{"unreachable behind it", open.as(nil), "127.0.0.1:1", 502, ErrProxy},
		{"no proxy there", func(*url.URL) (*url.URL, error) {
			return &url.URL{Scheme: "http", User: url.UserPassword("me", secret), Host: "127.0.0.1:1"}, nil
		}, s.addr, 0, ErrProxy},
		{"no proxy but the basestation", func(*url.URL) (*url.URL, error) {
			return &url.URL{Scheme: "http", User: url.UserPassword("me", secret), Host: s.addr}, nil
		}, s.addr, 0, ErrProxy},
		{"socks", func(*url.URL) (*url.URL, error) {
			return &url.URL{Scheme: "socks5", User: url.UserPassword("me", secret), Host: s.addr}, nil
		}, s.addr, 0, ErrProxy},
		{"bad setting", func(*url.URL) (*url.URL, error) { return nil, errors.New("invalid " + secret) }, s.addr, 0, ErrProxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, s)
			cfg.Transports, cfg.Proxy, cfg.Addrs = TLS, c.proxy, []string{c.addr}
			u, err := Dial(t.Context(), cfg)
			if !errors.Is(err, c.cause) {
				t.Fatalf("%v, want %v", err, c.cause)
			}
			if err == nil {
				defer u.Close()
				echo(t, u, large)
				if u.Remote() != (netip.AddrPort{}) {
					t.Error(u.Remote())
				}
				relayed(t, u)
				return
			}
			var p *ProxyError
			if !errors.As(err, &p) || p.Status != c.status {
				t.Errorf("%v, want status %d", err, c.status)
			}
			if said := fmt.Sprintf("%v %+v %#v", err, err, p); strings.Contains(said, secret) || strings.Contains(said, basic[6:]) {
				t.Errorf("%s gives the password away", said)
			}
		})
	}
	// The name is the proxy's to look up.
	cfg := config(t, s)
	cfg.Transports, cfg.Proxy, cfg.Addrs = TLS, open.as(nil), []string{"latchkey.invalid:5684"}
	if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrProxy) {
		t.Error(err)
	}
	open.mu.Lock()
	defer open.mu.Unlock()
	if last := open.asked[len(open.asked)-1]; last != "latchkey.invalid:5684" {
		t.Error("the proxy was asked for", last)
	}
}

// relayed sends messages to the relay, which echoes them.
func relayed(t *testing.T, u *Uplink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, to, err := u.DialRelay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stun := append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 16)...)
	for _, m := range [][]byte{stun, {0x40, 0, 0, 4, 1, 2, 3, 4}, {0x40, 0, 0, 1, 9}, {0x41, 0, 0, 0}, stun} {
		if n, err := conn.WriteTo(m, to); n != len(m) || err != nil {
			t.Fatal(n, err)
		}
		b := make([]byte, 100)
		n, _, err := conn.ReadFrom(b)
		if err != nil || !bytes.Equal(b[:n], m) {
			t.Fatalf("sent %x, got %x %v", m, b[:n], err)
		}
	}
}

func TestRelay(t *testing.T) {
	s := newStation(t)
	cfg := config(t, s)
	cfg.Transports = TLS
	relayed(t, dial(t, cfg))

	cfg = config(t, s)
	cfg.Transports = UDP
	conn, to, err := dial(t, cfg).DialRelay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if to.String() != s.addr {
		t.Error(to)
	}
	if _, err := conn.WriteTo([]byte{0}, to); err != nil {
		t.Error(err)
	}
}

func TestFramedSkipsAndRefuses(t *testing.T) {
	x, y := net.Pipe()
	defer x.Close()
	defer y.Close()
	f := &framed{Conn: x, in: bufio.NewReader(x)}
	go func() {
		_, _ = y.Write(append([]byte{0x40, 0, 0, 5}, "12345\x00\x00\x00"...))
		_, _ = y.Write([]byte{0x40, 0, 0, 2, 'a', 'b', 0, 0})
		_, _ = y.Write([]byte{0xff, 0, 0, 0})
	}()
	b := make([]byte, 8)
	if n, _, err := f.ReadFrom(b); err != nil || n != 6 {
		t.Errorf("%x %v", b[:n], err)
	}
	if _, _, err := f.ReadFrom(b); !errors.Is(err, latchkey.ErrProtocol) {
		t.Error(err)
	}
	for _, bad := range [][]byte{{0x40, 0, 0, 5, 1}, append([]byte{0x40, 0, 0, 1}, make([]byte, 9)...)} {
		if _, err := f.WriteTo(bad, nil); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestInterleave(t *testing.T) {
	var list []netip.Addr
	for _, s := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "::ffff:192.0.2.2"} {
		list = append(list, netip.MustParseAddr(s))
	}
	const want = "[2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3]"
	if got := fmt.Sprint(interleave(list)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestConfigIsChecked(t *testing.T) {
	s := newStation(t)
	for _, change := range []func(*Config){
		func(c *Config) { c.Identity = nil },
		func(c *Config) { c.Addrs = nil },
		func(c *Config) { c.Key = latchkey.Fingerprint{} },
		func(c *Config) { c.Transports, c.Socket = UDP, nil },
	} {
		cfg := config(t, s)
		change(&cfg)
		if u, err := Dial(t.Context(), cfg); err == nil {
			u.Close()
			t.Error("accepted")
		}
	}
}

// A basestation that vanishes without a word is noticed on TLS too.
func TestSilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		probes := make(chan struct{}, 100)
		go func() {
			_, _ = y.Write([]byte{0x00, 0xe1})
			b := make([]byte, 100)
			for {
				n, err := y.Read(b)
				if err != nil {
					return
				}
				if n > 1 && b[1] == 0xe2 {
					probes <- struct{}{}
				}
			}
		}()
		l := &streamLeg{}
		l.stream = coap.NewStream(x, coap.Config{Handler: l.handle, Log: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { l.watch(ctx) })
		start := time.Now()
		if err := l.serve(latchkey.Fingerprint{}); !errors.Is(err, session.ErrSilent) {
			t.Error(err)
		}
		cancel()
		group.Wait()
		if took := time.Since(start); took < lostAfter || took > lostAfter+2*time.Second {
			t.Error("noticed after", took)
		}
		if n := len(probes); n < 3 || n > 5 {
			t.Errorf("%d probes", n)
		}
	})
}
