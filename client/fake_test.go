package client

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a busy machine may take.
const patience = 30 * time.Second

// A fake is a device that does what the test says, in sessions of the real kind.
type fake struct {
	identity *latchkey.Identity
	addr     netip.AddrPort
	dtls     *secure.Server
	set      session.Set
	handler  coap.Handler // but for /basestation; nil: everything is 4.04
	accept   func(*stream.Incoming)

	sessions chan *session.Session // each one that was made
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newFake serves until the test ends.
func newFake(t *testing.T, f *fake) *fake {
	t.Helper()
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{HopLimit: 255})
	if err != nil {
		t.Fatal(err)
	}
	if f.identity, err = latchkey.NewIdentity(); err != nil {
		t.Fatal(err)
	}
	f.addr, f.sessions = sock.LocalAddrs()[0], make(chan *session.Session, 16)
	f.dtls = &secure.Server{
		Config: secure.Config{Identity: f.identity, Verify: func(secure.Peer) error { return nil }, Log: quiet()},
		Send:   sock.Send, Accept: f.serve,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { f.set.Run(ctx) })
	work.Go(func() { _ = sock.Serve(ctx, f.dtls.Deliver) })
	t.Cleanup(func() {
		f.dtls.Close()
		cancel()
		_ = sock.Close()
		work.Wait()
	})
	return f
}

func (f *fake) serve(conn *secure.Conn) {
	handler := func(ctx context.Context, r *coap.Request) *coap.Response {
		if f.handler == nil || r.Path[0] == "basestation" { // which every client asks for by itself
			return refused(latchkey.ErrNotFound)
		}
		return f.handler(ctx, r)
	}
	s := session.New(conn, session.Config{Handler: handler, Accept: f.accept, Critical: []uint16{coap.IfMatch}, Log: quiet()})
	defer f.set.Add(s)()
	f.sessions <- s
	_ = s.Serve()
}

// refused is the answer that a device's door gives.
func refused(err error) *coap.Response {
	code := latchkey.CodeOf(err)
	r := coap.NewResponse(coap.Code(code.CoAP()))
	coap.SetCode(r, code)
	return r
}

func answered(code coap.Code, text string) *coap.Response {
	r := coap.NewResponse(code)
	r.Format, r.Body = FormatJSON, []byte(text)
	return r
}

// client knows the fake as home.
func (f *fake) client(t *testing.T) *Client {
	t.Helper()
	c := &Client{Dir: filepath.Join(t.TempDir(), "client"), Logger: quiet(), NoDiscovery: true}
	known, err := c.OpenKnown()
	if err == nil {
		err = known.Add(Device{Alias: "home", Key: f.identity.Fingerprint(), Addrs: []string{f.addr.String()}})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (f *fake) dial(t *testing.T, o DialOptions) (*Conn, *session.Session) {
	t.Helper()
	conn, err := f.client(t).DialWith(within(t), "home", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, <-f.sessions
}

var errTest = errors.New("no reason")
