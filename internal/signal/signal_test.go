package signal_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

var (
	device  = latchkey.DeviceID{Product: "acme", Device: "gw1"}
	session = signal.SessionID{1, 2, 3}
	when    = time.UnixMilli(1_790_000_000_123)
)

func identity(t testing.TB) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func offer(t testing.TB, role byte) signal.Offer {
	t.Helper()
	o := signal.Offer{
		Session: session, Device: device, Role: role, Ufrag: "abcd", Pwd: strings.Repeat("p", 22),
		Candidates: []string{"candidate:1 1 udp 2130706431 192.0.2.1 5690 typ host"},
	}
	if err := o.Sign(identity(t)); err != nil {
		t.Fatal(err)
	}
	return o
}

func grant() *signal.Grant {
	return &signal.Grant{
		Username: "user", Password: "canary-password", Expires: when,
		Self: netip.MustParseAddrPort("192.0.2.1:1024"), Peer: netip.MustParseAddrPort("192.0.2.2:1024"),
	}
}

// messages is one valid message of each type.
func messages(t testing.TB) []signal.Message {
	client, dev := offer(t, signal.RoleClient), offer(t, signal.RoleDevice)
	fingerprint := identity(t).Fingerprint()
	servers := []string{"203.0.113.5:5684", "[2001:db8::1]:443"}
	return []signal.Message{
		&signal.Attach{ID: device, Version: "1.0", Time: when},
		&signal.Attached{
			Time: when, Mapped: netip.MustParseAddrPort("192.0.2.9:5690"),
			Servers: servers, TokensVersion: 7,
		},
		&signal.Tokens{Version: 8, List: []signal.Token{
			{Hash: signal.Sum{1}}, {Hash: signal.Sum{2}, Key: fingerprint, Expires: when, Uses: 10},
		}},
		&signal.TokensState{Version: 8},
		&signal.Connect{ID: device, SCT: latchkey.NewConnectToken().Reveal(), Wait: true, Offer: client},
		&signal.Connected{Session: session, Relay: grant(), Servers: servers, Waiting: true},
		&signal.Introduce{Session: session, Client: fingerprint, Offer: client, Relay: grant(), Servers: servers},
		&signal.Introduced{Offer: dev},
		&signal.Answer{Session: session, Offer: &dev, Relay: grant()},
		&signal.Answer{Session: session, Code: latchkey.CodeTooMany},
		&signal.Candidates{Session: session, List: client.Candidates, Last: true},
		&signal.Leave{Session: session},
	}
}

func blank(m signal.Message) signal.Message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(signal.Message)
}

func TestRoundTrip(t *testing.T) {
	for _, m := range messages(t) {
		b, err := signal.Marshal(m)
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		back := blank(m)
		if err := signal.Unmarshal(b, back); err != nil {
			t.Errorf("%T: %v", m, err)
		}
		if !reflect.DeepEqual(m, back) {
			t.Errorf("%T\n%+v became\n%+v", m, m, back)
		}
		for n := range b {
			if signal.Unmarshal(b[:n], blank(m)) == nil {
				t.Errorf("%T: %d of %d bytes are accepted", m, n, len(b))
			}
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	leave := map[int]any{1: session[:]}
	encode := func(v any) []byte {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := signal.Unmarshal(encode(leave), &signal.Leave{}); err != nil {
		t.Fatal(err)
	}
	if err := signal.Unmarshal(encode(map[int]any{1: session[:], 99: "later"}), &signal.Leave{}); err != nil {
		t.Errorf("a key of a later version: %v", err)
	}
	id := append([]byte{0x01, 0x50}, session[:]...) // key 1, byte string of 16
	for name, b := range map[string][]byte{
		"empty":              nil,
		"null":               {0xf6},
		"array":              {0x80},
		"empty map":          {0xa0},
		"trailing byte":      append(encode(leave), 0),
		"short id":           encode(map[int]any{1: session[:15]}),
		"long id":            encode(map[int]any{1: append(session[:], 0)}),
		"zero id":            encode(map[int]any{1: make([]byte, 16)}),
		"text id":            encode(map[int]any{1: strings.Repeat("x", 16)}),
		"key twice":          append(append([]byte{0xa2}, id...), id...),
		"unknown length":     append(append([]byte{0xbf}, id...), 0xff),
		"tag":                append([]byte{0xc1}, encode(leave)...),
		"huge length":        {0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"deep":               append([]byte{0xa1, 0x02}, bytes.Repeat([]byte{0x81}, 1000)...),
		"larger than it may": append(encode(leave), make([]byte, signal.MaxMessage)...),
	} {
		err := signal.Unmarshal(b, &signal.Leave{})
		if !errors.Is(err, latchkey.ErrProtocol) && !errors.Is(err, latchkey.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokensLimit(t *testing.T) {
	tokens := &signal.Tokens{Version: 1}
	key := identity(t).Fingerprint()
	for i := range signal.MaxTokens {
		tokens.List = append(tokens.List, signal.Token{
			Hash: signal.Sum{1, byte(i), byte(i >> 8)}, Key: key, Expires: when, Uses: 1 << 30,
		})
	}
	b, err := signal.Marshal(tokens)
	if err != nil {
		t.Fatal(err)
	}
	if err := signal.Unmarshal(b, &signal.Tokens{}); err != nil {
		t.Errorf("the most tokens, %d bytes: %v", len(b), err)
	}
	tokens.List = append(tokens.List, signal.Token{Hash: signal.Sum{2}})
	if _, err := signal.Marshal(tokens); err == nil {
		t.Error("one token too many is accepted")
	}
	tokens.List = append(tokens.List[:1], tokens.List[0])
	if _, err := signal.Marshal(tokens); err == nil {
		t.Error("a token twice is accepted")
	}
}

// TestValid breaks each rule once.
func TestValid(t *testing.T) {
	good := messages(t)
	attach, attached := good[0].(*signal.Attach), good[1].(*signal.Attached)
	connect, connected := good[4].(*signal.Connect), good[5].(*signal.Connected)
	introduce, introduced, answer := good[6].(*signal.Introduce), good[7].(*signal.Introduced), good[8].(*signal.Answer)
	candidates, token := good[10].(*signal.Candidates), good[2].(*signal.Tokens).List[1]
	cases := []struct {
		name string
		m    signal.Message
	}{
		{"attach id", change(attach, func(a *signal.Attach) { a.ID.Device = "A" })},
		{"attach version", change(attach, func(a *signal.Attach) { a.Version = strings.Repeat("v", 65) })},
		{"attach control", change(attach, func(a *signal.Attach) { a.Version = "a\n" })},
		{"attach time", change(attach, func(a *signal.Attach) { a.Time = time.UnixMilli(-1) })},
		{"attached server", change(attached, func(a *signal.Attached) { a.Servers = []string{"host"} })},
		{"attached port", change(attached, func(a *signal.Attached) { a.Servers = []string{"host:0"} })},
		{"attached servers", change(attached, func(a *signal.Attached) { a.Servers = slicesOf("host:1", 9) })},
		{"token hash", change(&token, func(t *signal.Token) { t.Hash = signal.Sum{} })},
		{"token uses", change(&token, func(t *signal.Token) { t.Uses = -1 })},
		{"connect two tokens", change(connect, func(c *signal.Connect) { c.JWT = "x" })},
		{"connect no token", change(connect, func(c *signal.Connect) { c.SCT = "" })},
		{"connect short token", change(connect, func(c *signal.Connect) { c.SCT = "x" })},
		{"connect long token", change(connect, func(c *signal.Connect) { c.SCT, c.JWT = "", strings.Repeat("x", signal.MaxJWT+1) })},
		{"connect other device", change(connect, func(c *signal.Connect) { c.ID.Device = "gw2" })},
		{"connect other role", change(connect, func(c *signal.Connect) { c.Offer.Role = signal.RoleDevice })},
		{"connected session", change(connected, func(c *signal.Connected) { c.Session = signal.SessionID{} })},
		{"grant password", change(grant(), func(g *signal.Grant) { g.Password = "" })},
		{"grant self", change(grant(), func(g *signal.Grant) { g.Self = g.Peer })},
		{"grant mapped", change(grant(), func(g *signal.Grant) { g.Peer = netip.MustParseAddrPort("[::ffff:1.2.3.4]:1") })},
		{"grant end", change(grant(), func(g *signal.Grant) { g.Expires = time.Time{} })},
		{"introduce client", change(introduce, func(i *signal.Introduce) { i.Client = latchkey.Fingerprint{} })},
		{"introduce session", change(introduce, func(i *signal.Introduce) { i.Session[0]++ })},
		{"introduced role", change(introduced, func(i *signal.Introduced) { i.Offer.Role = signal.RoleClient })},
		{"answer both", change(answer, func(a *signal.Answer) { a.Code = latchkey.CodeTooMany })},
		{"answer neither", change(answer, func(a *signal.Answer) { a.Offer = nil })},
		{"answer session", change(answer, func(a *signal.Answer) { a.Session[0]++ })},
		{"candidates many", change(candidates, func(c *signal.Candidates) { c.List = slicesOf("c", 33) })},
		{"candidates long", change(candidates, func(c *signal.Candidates) { c.List = []string{strings.Repeat("c", 257)} })},
		{"candidates empty", change(candidates, func(c *signal.Candidates) { c.List = []string{""} })},
		{"candidates none", change(candidates, func(c *signal.Candidates) { c.List, c.Last = nil, false })},
	}
	for _, c := range cases {
		if err := c.m.Valid(); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func change[T any](m *T, f func(*T)) *T {
	c := *m
	f(&c)
	return &c
}

func slicesOf(s string, n int) []string {
	return strings.Split(strings.Repeat(s+" ", n-1)+s, " ")
}

func TestGrantPrintsNoPassword(t *testing.T) {
	g := grant()
	for _, s := range []string{
		fmt.Sprint(g), fmt.Sprint(*g), fmt.Sprintf("%+v", *g), fmt.Sprintf("%#v", *g), g.LogValue().String(),
		fmt.Sprintf("%+v", signal.Connected{Relay: g}), fmt.Sprintf("%v", struct{ G signal.Grant }{*g}),
	} {
		if strings.Contains(s, "canary") {
			t.Errorf("%s", s)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for i, m := range messages(f) {
		b, err := signal.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, b)
	}
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		list := messages(t)
		m := blank(list[uint(i)%uint(len(list))])
		if signal.Unmarshal(b, m) != nil {
			return
		}
		again, err := signal.Marshal(m)
		if err != nil {
			t.Fatalf("%T was accepted and cannot be sent: %v", m, err)
		}
		back := blank(m)
		if err := signal.Unmarshal(again, back); err != nil {
			t.Fatalf("%T was accepted, and refused when sent again: %v", m, err)
		}
	})
}
