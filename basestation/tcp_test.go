package basestation

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// get fetches a path by HTTP of one version.
func (b *base) get(path string, http2 bool) (status int, body, proto string) {
	b.t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get("https://" + b.addr.String() + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, string(text), r.Proto
}

func TestHTTPS(t *testing.T) {
	b := newBase(t, nil)
	b.connectUDP(b.register(gateway)).attach(gateway)
	for _, http2 := range []bool{false, true} {
		status, body, proto := b.get("/healthz", http2)
		if status != 200 || body != "ok\n" || strings.HasPrefix(proto, "HTTP/2") != http2 {
			t.Errorf("%d %q by %s", status, body, proto)
		}
	}
	if status, body, _ := b.get("/metrics", true); status != 200 || !strings.Contains(body, "\nlatchkey_basestation_devices 1\n") {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := b.get("/attach", false); status != 404 {
		t.Errorf("%d for a path that there is not", status)
	}
	until(t, "the connections are gone", func() bool { s, _ := b.Status(); return s.Streams == 0 })
}

func TestMetricsElsewhere(t *testing.T) {
	b := newBase(t, func(s *Server) { s.MetricsFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	if status, _, _ := b.get("/metrics", false); status != 404 {
		t.Errorf("%d", status)
	}
}

// TestNoALPN speaks HTTP and STUN over TLS without saying so.
func TestNoALPN(t *testing.T) {
	b := newBase(t, nil)
	c := b.dialTLS(nil, "")
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("%v, %v", r, err)
	}
	_ = r.Body.Close()
	for name, conn := range map[string]net.Conn{
		"plain": dialTCP(t, b), "tls": b.dialTLS(nil, ""), "tls with alpn": b.dialTLS(nil, alpnTURN),
	} {
		if mapped := binding(t, conn); mapped != conn.LocalAddr().String() {
			t.Errorf("%s: mapped to %s, is %s", name, mapped, conn.LocalAddr())
		}
	}
}

// binding asks for the mapped address over a stream.
func binding(t *testing.T, conn net.Conn) string {
	t.Helper()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	if _, err := conn.Write(request.Raw); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer := stun.New()
	if _, err := answer.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(answer); err != nil {
		t.Fatal(err)
	}
	return mapped.String()
}

func TestSTUNByUDP(t *testing.T) {
	b := newBase(t, nil)
	conn, err := net.Dial("udp", b.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if mapped := binding(t, conn); mapped != conn.LocalAddr().String() {
		t.Errorf("mapped to %s, is %s", mapped, conn.LocalAddr())
	}
}

func TestStrangeConnections(t *testing.T) {
	t.Parallel() // one of them takes firstTime
	b := newBase(t, nil)
	for name, first := range map[string]string{
		"garbage":       "\xff\xff\xff\xff",
		"http in clear": "GET / HTTP/1.1\r\n\r\n",
		"no cookie":     "\x00\x01\x00\x00" + strings.Repeat("x", 16),
		"broken tls":    "\x16\x03\x01\x00\x04xxxx",
		"nothing":       "",
	} {
		c := dialTCP(t, b)
		if _, err := io.WriteString(c, first); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		answer, err := io.ReadAll(c)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			t.Errorf("%s: still open", name)
		}
		if len(answer) > 32 {
			t.Errorf("%s: %d bytes of answer", name, len(answer))
		}
	}
}

func TestTLSRules(t *testing.T) {
	b := newBase(t, nil)
	if c, err := tls.Dial("tcp", b.addr.String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 is accepted")
	}
	if c, err := tls.Dial("tcp", b.addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"mqtt"}}); err == nil {
		_ = c.Close()
		t.Error("an unknown ALPN is accepted")
	}
	// CoAP without a key, or with one too many, is ended without a word.
	c := b.dialTLS(nil, alpnCoAP)
	if n, err := io.Copy(io.Discard, c); n != 0 {
		t.Errorf("%d bytes for a peer without a key, %v", n, err)
	}
	if s, _ := b.Status(); s.Peers != 0 {
		t.Errorf("%d peers", s.Peers)
	}
}

func TestStreamLimits(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.StreamsPerSource = 2 })
	first, second, third := dialTCP(t, b), dialTCP(t, b), dialTCP(t, b)
	_ = third.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the third connection is open: %v", err)
	}
	_ = first.Close()
	until(t, "there is room again", func() bool { s, _ := b.Status(); return s.Streams == 1 })
	if mapped := binding(t, dialTCP(t, b)); mapped == "" {
		t.Error("no answer")
	}
	_ = second.Close()
}

// unknown returns how many are not trusted.
func (c *crowd) unknown() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.strangers.Len()
}

// TestStreamsOfDevices counts nothing against a source that devices come from:
// neither their connections nor those of their relayed sessions.
func TestStreamsOfDevices(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.StreamsPerSource = 1 })
	var devices []*peer
	for _, name := range []string{"gw1", "gw2", "gw3"} {
		id := latchkey.DeviceID{Product: "acme", Device: name}
		p := b.connectTLS(b.register(id))
		p.attach(id)
		devices = append(devices, p)
	}
	s, err := b.serving()
	if err != nil {
		t.Fatal(err)
	}
	token := latchkey.NewConnectToken()
	devices[0].upload(1, token)
	client, up := b.dialUplink(newIdentity(t), uplink.TLS)
	var connected signal.Connected
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &connected)
	relayed(t, up, connected.Relay)
	until(t, "nobody is a stranger", func() bool { return s.streams.unknown() == 0 })
	stranger := dialTCP(t, b)
	until(t, "one is", func() bool { return s.streams.unknown() == 1 })
	if _, err := io.Copy(io.Discard, dialTCP(t, b)); err != nil {
		t.Errorf("a second stranger: %v", err)
	}
	_ = stranger.Close()
	until(t, "the connections are gone", func() bool { s, _ := b.Status(); return s.Streams == 5 })
}

// TestStreamsOfStrangers lets the oldest stranger make room in its share.
func TestStreamsOfStrangers(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.Streams = 2 * strangerStreams })
	device := b.connectTLS(b.register(gateway))
	device.attach(gateway)
	oldest := dialTCP(t, b)
	until(t, "it is there", func() bool { s, _ := b.Status(); return s.Streams == 2 })
	dialTCP(t, b)
	until(t, "both are there", func() bool { s, _ := b.Status(); return s.Streams == 3 })
	newest := dialTCP(t, b)
	_ = oldest.SetReadDeadline(time.Now().Add(firstTime / 2))
	if _, err := oldest.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest one: %v", err)
	}
	if mapped := binding(t, newest); mapped == "" {
		t.Error("no answer")
	}
	device.attach(gateway)
}

// TestStrangersPerSource lets no more strangers in than there may be, while
// devices come and go.
func TestStrangersPerSource(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.PerSource = 2 })
	key := b.register(gateway)
	b.connectUDP(newIdentity(t))
	b.connectUDP(newIdentity(t))
	until(t, "both are there", func() bool { s, _ := b.Status(); return s.Peers == 2 })
	refused := b.connectUDP(newIdentity(t))
	if code := receive(t, refused.said); code != latchkey.CodeTooMany {
		t.Errorf("told %v", code)
	}
	receive(t, refused.ended)
	if len(b.kind(EventPeerRefused)) != 1 {
		t.Error("no event")
	}
	b.connectUDP(key).attach(gateway)
	b.connectTLS(key).attach(gateway)
}

func TestDrain(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.Drain = 20 * time.Second })
	byUDP := b.connectUDP(b.register(gateway))
	byUDP.attach(gateway)
	token := latchkey.NewConnectToken()
	byUDP.upload(1, token)
	byTLS := b.connectTLS(newIdentity(t))
	wants(t, byTLS.raw(coap.POST, "nothing", nil), coap.NotFound, latchkey.CodeNotFound, nil)
	stopped := make(chan error, 1)
	go func() { stopped <- b.stop() }()
	for _, p := range []*peer{byUDP, byTLS} {
		if code := receive(t, p.said); code != latchkey.CodeShutdown {
			t.Errorf("told %v", code)
		}
	}
	receive(t, byUDP.ended)
	receive(t, byTLS.ended)
	if err := receive(t, stopped); err != nil {
		t.Error(err)
	}
	if _, err := b.Status(); !errors.Is(err, ErrNotServing) {
		t.Errorf("still serving: %v", err)
	}
}

// TestDraining looks at a basestation whose relay is still in use.
func TestDraining(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	s, err := b.serving()
	if err != nil {
		t.Fatal(err)
	}
	s.draining.Store(true)
	answer := device.do(coap.POST, signal.PathAttach, &signal.Attach{ID: gateway})
	wants(t, answer, answer.Code, latchkey.CodeShutdown, nil)
	answer = client.do(coap.POST, signal.PathConnect, client.request(gateway, token))
	wants(t, answer, answer.Code, latchkey.CodeShutdown, nil)
	if status, body, _ := b.get("/healthz", false); status != 503 || body != "draining\n" {
		t.Errorf("%d %q", status, body)
	}
}

func TestTail(t *testing.T) {
	b := newBase(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := b.Tail(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.connectUDP(b.register(gateway)).attach(gateway)
	for e := range events {
		if e.Kind != EventAttached || e.Device != gateway || e.Seq != 1 || !e.Source.IsValid() {
			t.Errorf("%+v", e)
		}
		break
	}
	_ = b.stop()
	for range events {
		t.Log("one more")
	}
}

func TestEventsAreBounded(t *testing.T) {
	v := newEvents(quiet)
	for range 3 * eventsKept {
		v.refuse(Event{Kind: EventGateRefused})
	}
	refused, _ := v.after(0)
	if len(refused) > 2*refusalBurst {
		t.Errorf("%d refusals recorded", len(refused))
	}
	for range eventsKept + 10 {
		v.add(Event{Kind: EventAttached})
	}
	list, _ := v.after(0)
	if len(list) != eventsKept {
		t.Fatalf("%d kept", len(list))
	}
	for i, e := range list[1:] {
		if e.Seq != list[i].Seq+1 {
			t.Fatalf("%d follows %d", e.Seq, list[i].Seq)
		}
	}
	if list, _ = v.after(list[eventsKept-1].Seq + 100); len(list) != 0 {
		t.Errorf("%d events from the future", len(list))
	}
}

func TestPace(t *testing.T) {
	p := newPace[int](time.Second, 2)
	now := time.Now()
	if p.spent(1, now) || !p.allow(1, now) || !p.allow(1, now) || p.allow(1, now) || !p.spent(1, now) {
		t.Error("two were not two")
	}
	if !p.allow(2, now) || !p.allow(1, now.Add(time.Second)) {
		t.Error("another key, or a second later, is not allowed")
	}
	for k := range paceKeys + 10 {
		p.allow(k, now)
	}
	if n := len(p.now); n > paceKeys {
		t.Errorf("%d keys", n)
	}
	later := now.Add(2 * paceKeep)
	if p.allow(1, later); len(p.now) != 1 {
		t.Errorf("%d keys in a new period", len(p.now))
	}
}

func TestConfiguration(t *testing.T) {
	id := newIdentity(t)
	for name, s := range map[string]*Server{
		"nothing":        {},
		"no registry":    {Identity: id},
		"public address": {Identity: id, Dir: t.TempDir(), PublicAddrs: []string{"203.0.113.5"}},
		"issuer":         {Identity: id, Dir: t.TempDir() + "/a", Issuers: []Issuer{{Issuer: "x"}}},
		"address":        {Dir: t.TempDir() + "/b", Addr: "nonsense"},
	} {
		if err := s.ListenAndServe(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestOwnFiles makes key and registry on first use, and finds them again.
func TestOwnFiles(t *testing.T) {
	dir := t.TempDir() + "/state"
	var key latchkey.Fingerprint
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Server{Dir: dir, Addr: ":0", Logger: quiet}
		var info Info
		s.Ready = func(i Info) { info = i; cancel() }
		if err := s.ListenAndServe(ctx); err != nil {
			t.Fatal(err)
		}
		if !key.IsZero() && info.Fingerprint != key {
			t.Error("another key")
		}
		key = info.Fingerprint
	}
}

func TestPeerKeyNeedsHandshake(t *testing.T) {
	if _, err := secure.PeerKey(tls.ConnectionState{}); err == nil {
		t.Error("a key before the handshake is over")
	}
}
