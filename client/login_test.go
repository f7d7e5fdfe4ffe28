package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// A token is brought before anything else, and a fresh one before it expires;
// one that the device has already is not brought again.
func TestLogin(t *testing.T) {
	const life = 3 * time.Second
	bodies := make(chan string, 64)
	f := newFake(t, &fake{handler: func(_ context.Context, r *coap.Request) *coap.Response {
		bodies <- strings.Join(r.Path, "/") + " " + string(r.Body)
		if r.Path[0] != "token" {
			return answered(coap.Content, `{}`)
		}
		return answered(coap.Changed, fmt.Sprintf(`{"role":"user","expires":%q,"subject":"app"}`, time.Now().Add(life).Format(time.RFC3339Nano)))
	}})
	var asked atomic.Int64
	conn, _ := f.dial(t, DialOptions{Login: func(context.Context) (string, error) {
		switch n := asked.Add(1); n {
		case 2:
			return "one", nil // not renewed yet
		case 3:
			return "", errTest
		case 1:
			return "one", nil
		default:
			return fmt.Sprint("number ", n), nil
		}
	}})
	if _, err := conn.Get(within(t), "/light"); err != nil {
		t.Fatal(err)
	}
	if got := <-bodies; got != "token one" {
		t.Fatalf("first the device was asked %q", got)
	}
	late := time.After(patience)
	for {
		select {
		case got := <-bodies:
			if got == "token one" {
				t.Fatal("a token was brought twice")
			}
			if got == "token number 4" {
				return
			}
		case <-late:
			t.Fatal("no fresh token was brought")
		}
	}
}

// What stands in the way of a login fails the dial and says why.
func TestLoginFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		token  string
		err    error
		answer *coap.Response
		want   error
		text   string
	}{
		{name: "no token", want: nil, text: "login: there is no token"},
		{name: "nobody gives one", err: errTest, want: errTest, text: "login: no reason"},
		{name: "expired", token: "t", answer: refused(latchkey.ErrTokenExpired), want: latchkey.ErrTokenExpired, text: "login: refused by the device: the token has expired"},
		{name: "not allowed", token: "t", answer: refused(latchkey.ErrForbidden), want: latchkey.ErrForbidden},
		{name: "no answer that we know", token: "t", answer: answered(coap.Changed, `[]`), want: latchkey.ErrProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, &fake{handler: func(context.Context, *coap.Request) *coap.Response { return test.answer }})
			_, err := f.client(t).DialWith(within(t), "home", DialOptions{Login: func(context.Context) (string, error) {
				return test.token, test.err
			}})
			if err == nil || test.want != nil && !errors.Is(err, test.want) || test.text != "" && err.Error() != test.text {
				t.Errorf("DialWith = %v, want %v %s", err, test.want, test.text)
			}
		})
	}
}

// A Forward whose fresh token has expired too is over.
func TestForwardEndsWithTheToken(t *testing.T) {
	var expired atomic.Bool
	f := newFake(t, &fake{accept: echoes, handler: func(ctx context.Context, r *coap.Request) *coap.Response {
		if r.Path[0] != "token" {
			return services(ctx, r)
		}
		if expired.Load() {
			return refused(latchkey.ErrTokenExpired)
		}
		return answered(coap.Changed, `{}`)
	}})
	_, ended, _ := forward(t, f, ForwardOptions{Dial: DialOptions{Login: func(context.Context) (string, error) { return "t", nil }}})
	expired.Store(true)
	(<-f.sessions).Close(latchkey.ErrTokenExpired)
	if err := <-ended; !errors.Is(err, latchkey.ErrTokenExpired) {
		t.Errorf("ended with %v", err)
	}
}

// A device that a token opens is recorded, and no token goes to a key that nobody
// has accepted.
func TestPairByToken(t *testing.T) {
	bodies := make(chan string, 8)
	f := newFake(t, &fake{handler: func(_ context.Context, r *coap.Request) *coap.Response {
		if r.Path[0] != "token" {
			return refused(latchkey.ErrNotFound)
		}
		bodies <- string(r.Body)
		return answered(coap.Changed, `{"role":"user","subject":"app"}`)
	}})
	c := f.client(t)
	o := PairOptions{Alias: "there", Login: func(context.Context) (string, error) { return "t", nil }}
	if _, err := c.Pair(within(t), &latchkey.PairingURL{Addrs: []string{f.addr.String()}}, o); !errors.Is(err, latchkey.ErrUnknownDevice) || len(bodies) > 0 {
		t.Fatalf("without a key: %v, %d tokens brought", err, len(bodies))
	}
	paired, err := c.Pair(within(t), &latchkey.PairingURL{Key: f.identity.Fingerprint(), Addrs: []string{f.addr.String()}}, o)
	if err != nil || !paired.Token || paired.User != "app" || paired.Role != "user" || <-bodies != "t" {
		t.Fatalf("Pair = %+v, %v", paired, err)
	}
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if dev, err := known.Lookup("there"); err != nil || dev.User != "" || dev.Key != f.identity.Fingerprint() {
		t.Errorf("recorded %+v, %v", dev, err)
	}
}

func TestRefreshAfter(t *testing.T) {
	for _, test := range []struct{ left, want time.Duration }{
		{time.Hour, 45 * time.Minute},
		{time.Second / 4, refreshLeast},
		{0, refreshBlind},
		{-time.Hour, refreshBlind},
	} {
		if got := refreshAfter(test.left); got != test.want {
			t.Errorf("refreshAfter(%v) = %v, want %v", test.left, got, test.want)
		}
	}
}
