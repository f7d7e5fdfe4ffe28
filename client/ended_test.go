package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/stream"
)

// reasons are the words by which a device ends sessions.
var reasons = []struct {
	err  error
	text string
}{
	{latchkey.ErrRevoked, "the device ended the session: access was revoked"},
	{latchkey.ErrDisconnected, "the device ended the session: a request that is not allowed"},
	{latchkey.ErrAbuse, "the device ended the session: too many refused requests"},
	{latchkey.ErrTokenExpired, "the device ended the session: the token has expired"},
}

// Whatever is under way when the device ends the session, and whatever is asked
// afterwards, tells the device's reason.
func TestEveryCallTellsTheReason(t *testing.T) {
	for _, reason := range reasons {
		t.Run(reason.err.Error(), func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 2)
			f := newFake(t, &fake{
				handler: func(ctx context.Context, r *coap.Request) *coap.Response {
					if r.Path[0] == "state" {
						return &coap.Response{Code: coap.Content, Format: NoFormat, Observe: 0, Body: []byte("on")}
					}
					asked <- struct{}{}
					<-ctx.Done()
					return nil
				},
				accept: func(in *stream.Incoming) {
					if in.Service() == "echo" {
						s, err := in.Accept()
						if err == nil {
							_, _ = io.Copy(s, s)
						}
						return
					}
					asked <- struct{}{}
					<-in.Context().Done()
				},
			})
			conn, sess := f.dial(t, DialOptions{})
			check := func(what string, err error) {
				if !errors.Is(err, reason.err) {
					t.Errorf("%s: %v, want %v", what, err, reason.err)
				}
			}
			tunnel, err := conn.Tunnel(within(t), "echo")
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			ended := make(chan func(), 3)
			go func() {
				_, err := conn.Get(within(t), "/slow")
				ended <- func() { check("request under way", err) }
			}()
			go func() {
				_, err := conn.Tunnel(within(t), "slow")
				ended <- func() { check("tunnel being opened", err) }
			}()
			<-asked
			<-asked
			watching := make(chan struct{})
			go func() {
				var last error
				for _, err := range conn.Observe(within(t), "/state") {
					if last = err; err == nil {
						close(watching)
					}
				}
				ended <- func() { check("observation", last) }
			}()
			<-watching
			sess.Close(reason.err)
			for range 3 {
				(<-ended)()
			}
			_, err = tunnel.Read(make([]byte, 1))
			check("read of a tunnel", err)
			_, err = tunnel.Write(make([]byte, 1))
			check("write to a tunnel", err)
			<-conn.Context().Done()
			check("context", context.Cause(conn.Context()))
			_, err = conn.Get(within(t), "/after")
			check("request afterwards", err)
			if err.Error() != reason.text {
				t.Errorf("text %q, want %q", err, reason.text)
			}
			_, err = conn.Ping(within(t))
			check("ping afterwards", err)
			_, err = conn.Tunnel(within(t), "echo")
			check("tunnel afterwards", err)
			_, err = conn.Services(within(t))
			check("services afterwards", err)
			for _, err := range conn.Observe(within(t), "/state") {
				check("observation afterwards", err)
			}
		})
	}
}

// forward runs a Forward to the service echo of f and returns its listener's
// address and how it ends.
func forward(t *testing.T, f *fake, o ForwardOptions) (addr string, ended chan error, reconnecting chan error) {
	t.Helper()
	listening := make(chan string, 1)
	reconnecting = make(chan error, 64)
	o.Event = func(e ForwardEvent) {
		switch e.Kind {
		case "listening":
			listening <- e.Addr
		case "reconnecting":
			reconnecting <- e.Err
		}
	}
	ended = make(chan error, 1)
	c, ctx := f.client(t), within(t)
	go func() { ended <- c.Forward(ctx, "home", []Forward{{"echo", "127.0.0.1:0"}}, o) }()
	select {
	case addr = <-listening:
	case err := <-ended:
		t.Fatal(err)
	}
	return addr, ended, reconnecting
}

func echoes(in *stream.Incoming) {
	if s, err := in.Accept(); err == nil {
		_, _ = io.Copy(s, s)
	}
}

func services(_ context.Context, r *coap.Request) *coap.Response {
	if r.Path[0] == "services" {
		return answered(coap.Content, `[{"id":"echo","type":"tcp","open":true}]`)
	}
	return refused(latchkey.ErrNotFound)
}

// A Forward ends with the device's word and never dials again, with a connection
// open and without.
func TestForwardEndsWithTheReason(t *testing.T) {
	for _, reason := range reasons {
		for _, open := range []bool{true, false} {
			t.Run(reason.err.Error(), func(t *testing.T) {
				t.Parallel()
				f := newFake(t, &fake{handler: services, accept: echoes})
				addr, ended, _ := forward(t, f, ForwardOptions{})
				sess := <-f.sessions
				var local net.Conn
				if open {
					local = connected(t, addr)
				}
				sess.Close(reason.err)
				err := <-ended
				if !errors.Is(err, reason.err) || !strings.Contains(err.Error(), "the device ended the ") {
					t.Errorf("ended with %v, want %v", err, reason.err)
				}
				if open {
					if _, err := local.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
						t.Errorf("the local connection ended with %v, want a reset", err)
					}
				}
				if len(f.sessions) > 0 {
					t.Error("it has dialled again")
				}
			})
		}
	}
}

// connected is a local connection that is carried.
func connected(t *testing.T, addr string) net.Conn {
	t.Helper()
	local, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	b := []byte("x")
	if _, err = local.Write(b); err == nil {
		_, err = io.ReadFull(local, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return local
}

// Other ends are dialled after, and so is an expired token if there are others.
func TestForwardDialsAgain(t *testing.T) {
	token := func(context.Context) (string, error) { return "a.b.c", nil }
	login := func(ctx context.Context, r *coap.Request) *coap.Response {
		if r.Path[0] == "token" {
			return answered(coap.Changed, `{"role":"user","subject":"app"}`)
		}
		return services(ctx, r)
	}
	for _, test := range []struct {
		cause error
		login func(context.Context) (string, error)
	}{
		{latchkey.ErrShutdown, nil},
		{latchkey.ErrTokenExpired, token},
		{errTest, nil},
	} {
		f := newFake(t, &fake{handler: login, accept: echoes})
		addr, ended, again := forward(t, f, ForwardOptions{Dial: DialOptions{Login: test.login}})
		(<-f.sessions).Close(test.cause)
		var err error
		select {
		case err = <-again:
		case err := <-ended:
			t.Errorf("%v: ended with %v", test.cause, err)
			continue
		}
		if want := test.cause; want != errTest && !errors.Is(err, want) || want == errTest && !errors.Is(err, session.ErrEnded) {
			t.Errorf("%v: told %v", test.cause, err)
		}
		select {
		case <-f.sessions:
			connected(t, addr)
		case err := <-ended:
			t.Errorf("%v: ended with %v", test.cause, err)
		}
	}
}
