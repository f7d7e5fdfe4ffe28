package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A coapServer is a plain CoAP server on loopback.
type coapServer struct {
	socket *net.UDPConn
	cfg    coap.Config
	group  sync.WaitGroup

	mu    sync.Mutex
	peers map[netip.AddrPort]*coap.Endpoint
}

func serveCoAP(t *testing.T, handler coap.Handler) *coapServer {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &coapServer{socket: socket, peers: map[netip.AddrPort]*coap.Endpoint{}}
	s.cfg = coap.Config{Handler: handler, Critical: []uint16{coap.IfMatch, coap.IfNoneMatch}, Log: slog.New(slog.DiscardHandler)}
	s.group.Go(s.read)
	t.Cleanup(s.close)
	return s
}

func (s *coapServer) url() string { return "coap://" + s.socket.LocalAddr().String() }

func (s *coapServer) read() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := s.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		s.peer(from).Deliver(b[:n])
	}
}

func (s *coapServer) peer(from netip.AddrPort) *coap.Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[from] == nil {
		cfg := s.cfg
		cfg.Send = func(b []byte) error {
			_, err := s.socket.WriteToUDPAddrPort(b, from)
			return err
		}
		s.peers[from] = coap.New(cfg)
	}
	return s.peers[from]
}

// clients is how many sources the server has seen.
func (s *coapServer) clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

func (s *coapServer) close() {
	s.socket.Close()
	s.group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.peers {
		e.Close()
		e.Wait()
	}
}

func TestCoAPRequest(t *testing.T) {
	arrived := make(chan *coap.Request, 1)
	server := serveCoAP(t, func(_ context.Context, r *coap.Request) *coap.Response {
		arrived <- r
		answer := coap.NewResponse(coap.Content)
		answer.Format, answer.Body = coap.CBOR, []byte("body")
		answer.Options = []coap.Option{option(coap.ETag, "v1"), option(coap.MaxAge, "\x05"), option(2052, "kept"), option(coap.CodeOption, "\x13")}
		return answer
	})
	f := newForwarder(t, Config{})
	for _, method := range []coap.Code{coap.GET, coap.POST, coap.PUT, coap.DELETE, coap.FETCH, coap.PATCH, coap.IPATCH} {
		r := coap.NewRequest(method, "a/"[:1], "ü b")
		r.Query = []string{"x=1&2", ""}
		r.Accept = coap.CBOR
		r.Options = []coap.Option{
			option(coap.IfMatch, "v0"), option(coap.URIHost, "device"), option(coap.ETag, "v1"), option(coap.URIPort, "\x16"),
			option(coap.Echo, "fresh"), option(2052, "safe"), option(coap.CodeOption, "\x01"),
		}
		if method != coap.GET && method != coap.DELETE {
			r.Format, r.Body = coap.JSON, []byte("{}")
		}
		answer := ask(t, f, server.url()+"/base", r)
		if want := `2.05 60 4=7631 14=05 2052=6b657074 "body"`; describe(answer) != want {
			t.Errorf("%s: %s, want %s", method, describe(answer), want)
		}
		got := <-arrived
		var options []string
		for _, o := range got.Options {
			options = append(options, fmt.Sprintf("%d=%s", o.Number, o.Value))
		}
		if want := []string{"1=v0", "4=v1", "252=fresh", "2052=safe"}; !slices.Equal(options, want) {
			t.Errorf("%s: options %q, want %q", method, options, want)
		}
		if got.Code != method || !slices.Equal(got.Path, []string{"base", "a", "ü b"}) || !slices.Equal(got.Query, []string{"x=1&2", ""}) ||
			got.Accept != coap.CBOR || got.Format != r.Format || !bytes.Equal(got.Body, r.Body) {
			t.Errorf("%s arrived as %+v", method, got)
		}
	}
	if n := server.clients(); n != 1 {
		t.Errorf("%d endpoints for requests to one server", n)
	}
}

func TestCoAPNamedServer(t *testing.T) {
	server := serveCoAP(t, func(_ context.Context, r *coap.Request) *coap.Response {
		answer := coap.NewResponse(coap.Content)
		answer.Body, _ = r.Option(coap.URIHost)
		return answer
	})
	to := strings.Replace(server.url(), "127.0.0.1", "localhost", 1)
	if answer := ask(t, newForwarder(t, Config{}), to, coap.NewRequest(coap.GET)); answer.Code != coap.Content || string(answer.Body) != "localhost" {
		t.Errorf("%s, Uri-Host %q", answer.Code, answer.Body)
	}
}

func TestCoAPRefusesUnsafeOptions(t *testing.T) {
	var asked atomic.Bool
	server := serveCoAP(t, func(context.Context, *coap.Request) *coap.Response {
		asked.Store(true)
		answer := coap.NewResponse(coap.Content)
		answer.Options = []coap.Option{option(2050, "")}
		return answer
	})
	f := newForwarder(t, Config{})
	for number, want := range map[uint16]coap.Code{35: coap.ProxyingNotSupported, 39: coap.ProxyingNotSupported, 2050: coap.BadOption, 2051: coap.BadOption} {
		r := coap.NewRequest(coap.GET)
		r.Options = []coap.Option{option(number, "x")}
		if answer := ask(t, f, server.url(), r); answer.Code != want || asked.Load() {
			t.Errorf("option %d: %s, want %s; server asked: %v", number, answer.Code, want, asked.Load())
		}
	}
	if answer := ask(t, f, server.url(), coap.NewRequest(coap.GET)); answer.Code != coap.BadGateway || !asked.Load() {
		t.Errorf("unsafe option in an answer: %s", answer.Code)
	}
}

func TestCoAPLocation(t *testing.T) {
	f := newForwarder(t, Config{})
	for _, c := range []struct {
		where []coap.Option
		want  string
	}{
		{[]coap.Option{option(8, "base"), option(8, "7"), option(20, "v=1")}, "2.01 -1 8=75 8=37 20=763d31 \"\""},
		{[]coap.Option{option(8, "other"), option(8, "7"), option(20, "v=1")}, "2.01 -1 \"\""},
		{[]coap.Option{option(20, "v=1")}, "2.01 -1 \"\""},
		{nil, "2.01 -1 \"\""},
	} {
		server := serveCoAP(t, func(context.Context, *coap.Request) *coap.Response {
			answer := coap.NewResponse(coap.Created)
			answer.Options = c.where
			return answer
		})
		if got := describe(ask(t, f, server.url()+"/base", coap.NewRequest(coap.POST))); got != c.want {
			t.Errorf("%v: %s, want %s", c.where, got, c.want)
		}
	}
}

// Bodies of many blocks, in both directions and from several clients at once.
func TestCoAPBlocks(t *testing.T) {
	server := serveCoAP(t, func(_ context.Context, r *coap.Request) *coap.Response {
		answer := coap.NewResponse(coap.Content)
		answer.Format, answer.Body = coap.OctetStream, append([]byte("back:"), r.Body...)
		return answer
	})
	f := newForwarder(t, Config{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			r := coap.NewRequest(coap.PUT, "same")
			r.Format, r.Body = coap.OctetStream, bytes.Repeat([]byte{byte('a' + i)}, 10_000+i)
			answer := ask(t, f, server.url(), r)
			if answer.Code != coap.Content || string(answer.Body) != "back:"+string(r.Body) {
				t.Errorf("client %d: %s with %d bytes", i, answer.Code, len(answer.Body))
			}
		})
	}
	group.Wait()
	if n := server.clients(); n != 4 {
		t.Errorf("4 uploads to one resource came from %d sources", n)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
		code coap.Code
	}{
		{coap.ErrNoAnswer, latchkey.ErrTargetTimeout, coap.GatewayTimeout},
		{context.DeadlineExceeded, latchkey.ErrTargetTimeout, coap.GatewayTimeout},
		{os.ErrDeadlineExceeded, latchkey.ErrTargetTimeout, coap.GatewayTimeout},
		{syscall.ECONNREFUSED, latchkey.ErrTargetRefused, coap.BadGateway},
		{latchkey.ErrTargetRefused, latchkey.ErrTargetRefused, coap.BadGateway},
		{syscall.EHOSTUNREACH, latchkey.ErrTargetUnreachable, coap.BadGateway},
		{coap.ErrReset, latchkey.ErrTargetUnreachable, coap.BadGateway},
		{latchkey.ErrTooLarge, latchkey.ErrTooLarge, coap.BadGateway},
		{latchkey.ErrProtocol, latchkey.ErrProtocol, coap.BadGateway},
		{net.ErrClosed, latchkey.ErrShutdown, coap.ServiceUnavailable},
	} {
		err := classify(fmt.Errorf("with words: %w", c.err))
		answer := failure(err)
		if code, _ := coap.CodeOf(answer); !errors.Is(err, c.want) || !errors.Is(err, c.err) || answer.Code != c.code || code != latchkey.CodeOf(c.want) {
			t.Errorf("%v: %v, %s", c.err, err, describe(answer))
		}
	}
}

func TestCoAPFailures(t *testing.T) {
	closed, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	refused := "coap://" + closed.LocalAddr().String()
	closed.Close()
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	large := serveCoAP(t, func(context.Context, *coap.Request) *coap.Response {
		answer := coap.NewResponse(coap.Content)
		answer.Body = make([]byte, 5000)
		return answer
	})
	for name, c := range map[string]struct {
		to   string
		cfg  Config
		code coap.Code
		why  latchkey.Code
	}{
		"refused":   {refused, Config{}, coap.BadGateway, latchkey.CodeTargetRefused},
		"silent":    {"coap://" + silent.LocalAddr().String(), Config{Timeout: 50 * time.Millisecond}, coap.GatewayTimeout, latchkey.CodeTargetTimeout},
		"too large": {large.url(), Config{MaxBody: 4000}, coap.BadGateway, latchkey.CodeTooLarge},
	} {
		f := newForwarder(t, c.cfg)
		for range 2 { // a failed endpoint is not used again
			answer := ask(t, f, c.to, coap.NewRequest(coap.GET))
			if why, _ := coap.CodeOf(answer); answer.Code != c.code || why != c.why {
				t.Errorf("%s: %s %s, want %s %s", name, answer.Code, why, c.code, c.why)
			}
			f.coap.mu.Lock()
			if len(f.coap.shared) != 0 {
				t.Errorf("%s: the failed endpoint is kept", name)
			}
			f.coap.mu.Unlock()
		}
	}
}

func TestCoAPAfterClose(t *testing.T) {
	f := newForwarder(t, Config{})
	f.Close()
	answer := ask(t, f, "coap://127.0.0.1", coap.NewRequest(coap.GET))
	if why, _ := coap.CodeOf(answer); why != latchkey.CodeShutdown {
		t.Errorf("%s", describe(answer))
	}
	via := mustRoute(t, "/u/**", "coap://127.0.0.1")
	var last *coap.Response
	err := f.Subscribe(t.Context(), via, "coap://127.0.0.1/", coap.NewRequest(coap.GET), func(r *coap.Response) { last = r })
	if err != nil || last == nil || last.Observe != coap.NoObserve || last.Code.Class() == 2 {
		t.Errorf("%v, %+v", err, last)
	}
}

func TestIdleEndpointsAreClosed(t *testing.T) {
	server := serveCoAP(t, func(context.Context, *coap.Request) *coap.Response { return coap.NewResponse(coap.Content) })
	f := newForwarder(t, Config{Idle: time.Millisecond})
	ask(t, f, server.url(), coap.NewRequest(coap.GET))
	eventually(t, "the idle endpoint to be closed", func() bool {
		f.coap.mu.Lock()
		defer f.coap.mu.Unlock()
		return len(f.coap.all) == 0 && len(f.coap.shared) == 0
	})
	if answer := ask(t, f, server.url(), coap.NewRequest(coap.GET)); answer.Code != coap.Content {
		t.Errorf("after the idle time: %s", answer.Code)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A counter is an observable resource.
type counter struct {
	mu            sync.Mutex
	value         int
	registrations int
	live          []*coap.Observation
}

func (c *counter) serve(_ context.Context, r *coap.Request) *coap.Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.stateLocked()
	if r.Observation != nil && len(r.Path) > 0 && r.Path[0] == "count" {
		c.registrations++
		c.live = append(c.live, r.Observation)
		answer.Observe = 0
	}
	return answer
}

func (c *counter) stateLocked() *coap.Response {
	answer := coap.NewResponse(coap.Content)
	answer.Format, answer.Body = coap.TextPlain, fmt.Append(nil, c.value)
	return answer
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value++
	for _, o := range c.live {
		o.Notify(c.stateLocked())
	}
}

func (c *counter) watched() (live, registrations int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.live {
		select {
		case <-o.Done():
		default:
			live++
		}
	}
	return live, c.registrations
}

// watch subscribes in the background; states of the resource arrive on the
// channel, which is closed when Subscribe has returned.
func watch(ctx context.Context, t *testing.T, f *Forwarder, to, name string) <-chan *coap.Response {
	t.Helper()
	via := mustRoute(t, "/u/**", to)
	judged, err := via.Resolve([]string{"u", name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	states := make(chan *coap.Response, 100)
	go func() { // ends with ctx or the forwarder
		defer close(states)
		_ = f.Subscribe(ctx, via, judged, coap.NewRequest(coap.GET), func(r *coap.Response) { states <- r })
	}()
	return states
}

func next(t *testing.T, states <-chan *coap.Response) *coap.Response {
	t.Helper()
	select {
	case r := <-states:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no state came")
		return nil
	}
}

func TestObserversShareOneRegistration(t *testing.T) {
	var c counter
	server := serveCoAP(t, c.serve)
	f := newForwarder(t, Config{})
	one, stopOne := context.WithCancel(t.Context())
	two, stopTwo := context.WithCancel(t.Context())
	defer stopOne()
	defer stopTwo()
	first := watch(one, t, f, server.url(), "count")
	if r := next(t, first); r.Observe < 0 || string(r.Body) != "0" {
		t.Fatalf("%s, Observe %d", describe(r), r.Observe)
	}
	c.add()
	if r := next(t, first); string(r.Body) != "1" {
		t.Fatalf("%s", describe(r))
	}
	second := watch(two, t, f, server.url(), "count")
	if r := next(t, second); r.Observe < 0 || string(r.Body) != "1" {
		t.Fatalf("the late one got %s", describe(r))
	}
	c.add()
	for _, states := range []<-chan *coap.Response{first, second} {
		if r := next(t, states); string(r.Body) != "2" {
			t.Fatalf("%s", describe(r))
		}
	}
	if live, n := c.watched(); live != 1 || n != 1 {
		t.Errorf("%d registrations, %d live", n, live)
	}
	stopOne()
	for range first { // until Subscribe has returned
	}
	c.add()
	if r := next(t, second); string(r.Body) != "3" {
		t.Fatalf("%s", describe(r))
	}
	stopTwo()
	eventually(t, "the server to be told that nobody listens", func() bool { live, _ := c.watched(); return live == 0 })
}

func TestObserveEnds(t *testing.T) {
	var c counter
	server := serveCoAP(t, c.serve)
	f := newForwarder(t, Config{})
	declined := watch(t.Context(), t, f, server.url(), "other")
	if r := next(t, declined); r.Observe != coap.NoObserve || r.Code != coap.Content {
		t.Errorf("a resource that cannot be observed: %s, Observe %d", describe(r), r.Observe)
	}
	if r, more := <-declined; more {
		t.Errorf("more after the last: %s", describe(r))
	}
	states := watch(t.Context(), t, f, server.url(), "count")
	next(t, states)
	c.mu.Lock()
	c.live[0].Notify(coap.NewResponse(coap.NotFound))
	c.mu.Unlock()
	if r := next(t, states); r.Code != coap.NotFound || r.Observe != coap.NoObserve {
		t.Errorf("%s, Observe %d", describe(r), r.Observe)
	}
	states = watch(t.Context(), t, f, server.url(), "count")
	next(t, states)
	f.Close()
	if r := next(t, states); r.Observe != coap.NoObserve || r.Code.Class() == 2 {
		t.Errorf("on close: %s", describe(r))
	}
	for range states {
	}
}

func TestObserveOfASilentServer(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := newForwarder(t, Config{Timeout: 50 * time.Millisecond})
	states := watch(t.Context(), t, f, "coap://"+silent.LocalAddr().String(), "count")
	r := next(t, states)
	if why, _ := coap.CodeOf(r); r.Code != coap.GatewayTimeout || why != latchkey.CodeTargetTimeout || r.Observe != coap.NoObserve {
		t.Errorf("%s, Observe %d", describe(r), r.Observe)
	}
}

// A server that has forgotten us does not notify; we ask again when its last
// state is no longer fresh.
func TestObserveRegistersAgain(t *testing.T) {
	var c counter
	server := serveCoAP(t, func(ctx context.Context, r *coap.Request) *coap.Response {
		answer := c.serve(ctx, r)
		answer.Options = []coap.Option{option(coap.MaxAge, "")}
		return answer
	})
	f := newForwarder(t, Config{Grace: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	states := watch(ctx, t, f, server.url(), "count")
	for range 3 {
		if r := next(t, states); r.Observe < 0 || string(r.Body) != "0" {
			t.Fatalf("%s, Observe %d", describe(r), r.Observe)
		}
	}
	if _, n := c.watched(); n < 3 {
		t.Errorf("%d registrations", n)
	}
	cancel()
	for range states {
	}
}

func TestFreshFor(t *testing.T) {
	for age, want := range map[string]time.Duration{"": 0, "\x05": 5 * time.Second, "\x01\x00": 256 * time.Second, "12345": time.Minute} {
		r := coap.NewResponse(coap.Content)
		r.Options = []coap.Option{option(coap.MaxAge, age)}
		if got := freshFor(r); got != want {
			t.Errorf("Max-Age %x: %s", age, got)
		}
	}
	if got := freshFor(coap.NewResponse(coap.Content)); got != time.Minute {
		t.Errorf("no Max-Age: %s", got)
	}
}
