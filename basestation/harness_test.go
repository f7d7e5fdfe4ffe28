package basestation

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet   = slog.New(slog.DiscardHandler)
	gateway = latchkey.DeviceID{Product: "acme", Device: "gw1"}
)

// base is a basestation that serves on loopback.
type base struct {
	*Server
	t     *testing.T
	store *registry.Store
	addr  netip.AddrPort
	stop  func() error // ends serving and returns what ListenAndServe did
}

func newIdentity(t testing.TB) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newBase starts a basestation. The test may change its fields before.
func newBase(t *testing.T, change func(*Server)) *base {
	t.Helper()
	store, err := registry.Create(filepath.Join(t.TempDir(), "state", "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	ready := make(chan Info, 1)
	s := &Server{
		Identity: newIdentity(t), Registry: store, Addr: "127.0.0.1:0", Logger: quiet,
		Limits: Limits{Drain: 200 * time.Millisecond},
		Ready:  func(i Info) { ready <- i },
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe(ctx) }()
	b := &base{Server: s, t: t, store: store}
	b.stop = sync.OnceValue(func() error {
		cancel()
		return receive(t, ended)
	})
	select {
	case info := <-ready:
		b.addr = info.Addrs[0]
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
	}
	panic("unreachable")
}

// until waits for a condition that no channel tells.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// register adds a device and returns its identity.
func (b *base) register(id latchkey.DeviceID) *latchkey.Identity {
	b.t.Helper()
	key := newIdentity(b.t)
	if err := b.store.AddDevice(id, registry.Key{Fingerprint: key.Fingerprint()}); err != nil {
		b.t.Fatal(err)
	}
	return key
}

// A peer is connected to a basestation.
type peer struct {
	t       testing.TB
	key     *latchkey.Identity
	coap    *coap.Endpoint
	said    chan latchkey.Code       // goodbyes
	ended   chan struct{}            // closed when the connection has ended
	asked   chan question            // requests of the basestation
	traffic func() (count, last int) // datagrams that came, and the size of the last one
	end     func()
}

// A question is a request of the basestation that waits for its answer.
type question struct {
	path   string
	body   []byte
	answer chan<- *coap.Response
}

func newPeer(t testing.TB, key *latchkey.Identity) *peer {
	return &peer{
		t: t, key: key, said: make(chan latchkey.Code, 8), ended: make(chan struct{}), asked: make(chan question, 64),
	}
}

func (p *peer) handle(ctx context.Context, r *coap.Request) *coap.Response {
	path := strings.Join(r.Path, "/")
	if path == "end" {
		p.said <- latchkey.Code(r.Body[0])
		return coap.NewResponse(coap.Changed)
	}
	answer := make(chan *coap.Response, 1)
	p.asked <- question{path, r.Body, answer}
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return nil
	}
}

// connectUDP makes a DTLS session with the basestation.
func (b *base) connectUDP(key *latchkey.Identity) *peer {
	b.t.Helper()
	p := newPeer(b.t, key)
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		b.t.Fatal(err)
	}
	var mu sync.Mutex
	var count, last int
	p.traffic = func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return count, last
	}
	h := secure.NewClient(secure.Config{
		Identity: key, Log: quiet,
		Verify: func(peer secure.Peer) error {
			if peer.Key != b.Identity.Fingerprint() {
				return errors.New("not the basestation")
			}
			return nil
		},
	}, func(d []byte) error { return sock.Send(d, b.addr, netip.Addr{}) })
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		_ = sock.Serve(ctx, func(d []byte, m packet.Meta) {
			mu.Lock()
			count, last = count+1, len(d)
			mu.Unlock()
			h.Deliver(d, m)
		})
	})
	conn, err := h.Run(b.t.Context())
	if err != nil {
		cancel()
		work.Wait()
		b.t.Fatal(err)
	}
	p.coap = coap.New(coap.Config{Handler: p.handle, Log: quiet, Send: func(d []byte) error {
		_, err := conn.Write(d)
		return err
	}})
	work.Go(func() { _ = conn.Serve(p.coap.Deliver); close(p.ended) })
	work.Go(func() { p.tick(ctx) })
	p.end = sync.OnceFunc(func() {
		_ = conn.Close()
		p.coap.Close()
		p.coap.Wait()
		cancel()
		work.Wait()
		_ = sock.Close()
	})
	b.t.Cleanup(p.end)
	return p
}

func (p *peer) tick(ctx context.Context) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			p.coap.Tick(now)
		case <-ctx.Done():
			return
		}
	}
}

// dialTLS makes a TLS connection with one ALPN, or none if it is "".
func (b *base) dialTLS(key *latchkey.Identity, alpn string) *tls.Conn {
	b.t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} // the key is checked below
	if alpn != "" {
		cfg.NextProtos = []string{alpn}
	}
	if key != nil {
		cfg.Certificates = []tls.Certificate{key.TLSCertificate()}
	}
	c, err := tls.Dial("tcp", b.addr.String(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	if got, err := secure.PeerKey(c.ConnectionState()); err != nil || got != b.Identity.Fingerprint() {
		b.t.Fatalf("basestation has key %s, %v", got, err)
	}
	return c
}

// connectTLS makes a CoAP connection over TLS with the basestation.
func (b *base) connectTLS(key *latchkey.Identity) *peer {
	b.t.Helper()
	p := newPeer(b.t, key)
	stream := coap.NewStream(b.dialTLS(key, alpnCoAP), coap.Config{Handler: p.handle, Log: quiet})
	p.coap = stream.Endpoint
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = stream.Serve(); close(p.ended) })
	work.Go(func() { p.tick(ctx) })
	p.end = sync.OnceFunc(func() {
		stream.Close()
		cancel()
		work.Wait()
	})
	b.t.Cleanup(p.end)
	return p
}

// do sends a message and returns the answer.
func (p *peer) do(code coap.Code, path string, m signal.Message) *coap.Response {
	p.t.Helper()
	body, err := signal.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.raw(code, path, body)
}

func (p *peer) raw(code coap.Code, path string, body []byte) *coap.Response {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r := coap.NewRequest(code, path)
	r.Format, r.Body = coap.CBOR, body
	answer, err := p.coap.Do(ctx, r)
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	return answer
}

// wants checks the code of an answer, and reads its body if there is one to read.
func wants(t testing.TB, answer *coap.Response, code coap.Code, reason latchkey.Code, m signal.Message) {
	t.Helper()
	got, _ := coap.CodeOf(answer)
	if answer.Code != code || got != reason {
		t.Fatalf("answer %v with code %d, want %v with %d", answer.Code, got, code, reason)
	}
	if m != nil {
		if err := signal.Unmarshal(answer.Body, m); err != nil {
			t.Fatal(err)
		}
	}
}

// attach attaches and checks that it worked.
func (p *peer) attach(id latchkey.DeviceID) signal.Attached {
	p.t.Helper()
	var m signal.Attached
	wants(p.t, p.do(coap.POST, signal.PathAttach, &signal.Attach{ID: id, Version: "test", Time: time.Now()}), coap.Created, 0, &m)
	return m
}

// offer makes a signed offer.
func (p *peer) offer(role byte, session signal.SessionID, id latchkey.DeviceID) signal.Offer {
	p.t.Helper()
	o := signal.Offer{
		Session: session, Device: id, Role: role, Ufrag: "abcd", Pwd: strings.Repeat("p", 22),
		Candidates: []string{"candidate:1 1 udp 2130706431 192.0.2.1 5690 typ host"},
	}
	if err := o.Sign(p.key); err != nil {
		p.t.Fatal(err)
	}
	return o
}

func newSession() (s signal.SessionID) {
	_, _ = rand.Read(s[:])
	return s
}

// request is a connect request with a token.
func (p *peer) request(id latchkey.DeviceID, token latchkey.ConnectToken) *signal.Connect {
	return &signal.Connect{ID: id, SCT: token.Reveal(), Offer: p.offer(signal.RoleClient, newSession(), id)}
}

// answer answers a question with a message, or with a code if it is none.
func (q question) reply(t testing.TB, code coap.Code, m signal.Message) {
	t.Helper()
	a := coap.NewResponse(code)
	if m != nil {
		body, err := signal.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		a.Format, a.Body = coap.CBOR, body
	}
	q.answer <- a
}

// next returns the next question, which must be for that path, and its message.
func (p *peer) next(path string, m signal.Message) question {
	p.t.Helper()
	q := receive(p.t, p.asked)
	if q.path != path {
		p.t.Fatalf("asked for %s, want %s", q.path, path)
	}
	if err := signal.Unmarshal(q.body, m); err != nil {
		p.t.Fatal(err)
	}
	return q
}

// events returns those of one kind.
func (b *base) kind(kind EventKind) (found []Event) {
	b.t.Helper()
	list, err := b.Events()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range list {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func dialTCP(t testing.TB, b *base) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", b.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
