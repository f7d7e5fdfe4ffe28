package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// full is a request that knows everything.
func full() *acl.Request {
	return &acl.Request{
		Device: latchkey.DeviceID{Product: "acme", Device: "gw1"}, Peer: peer,
		User: "alice", Role: "guest", Action: "tunnel:open", Resource: "ssh", ServiceType: "tcp", Target: "tcp://127.0.0.1:22",
		Path: acl.PathRelay, Source: netip.MustParseAddr("203.0.113.5"), Time: noon,
		KeyAdded: noon.Add(-time.Hour), KeyOrigin: "invite",
		Claims: map[string]any{"sub": "alice", "age": json.Number("7"), "groups": []any{"a", "b"}},
		Token: &acl.Token{
			Issuer: "https://idp.example", Subject: "alice", ID: "7f", Role: "guest", Scope: []string{"tunnel:open"}, Expires: noon.Add(time.Hour),
		},
		Listing: true,
	}
}

const fullText = `{"input":{"device":"acme/gw1","key":"` + peerText + `","user":"alice","role":"guest","action":"tunnel:open","resource":"ssh",` +
	`"service_type":"tcp","target":"tcp://127.0.0.1:22","path":"relay","source":"203.0.113.5","time":"2026-11-22T12:00:00Z",` +
	`"key_added":"2026-11-22T11:00:00Z","key_origin":"invite","claims":{"age":7,"groups":["a","b"],"sub":"alice"},` +
	`"token":{"issuer":"https://idp.example","subject":"alice","id":"7f","role":"guest","scope":["tunnel:open"],"expires":"2026-11-22T13:00:00Z"},` +
	`"listing":true}}`

const peerText = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var peer, _ = latchkey.ParseFingerprint(peerText)

// The promise of docs/authorize.md: what programs see.
func TestInput(t *testing.T) {
	strange := full()
	strange.User, strange.Token, strange.Claims = "", nil, nil
	strange.Time = noon.In(time.FixedZone("", 3600))
	empty := &acl.Request{Token: &acl.Token{Scope: []string{}}}
	for name, test := range map[string]struct {
		r    *acl.Request
		want string
	}{
		"full": {full(), fullText},
		"little known": {
			&acl.Request{Action: "coap:get", Resource: "/light"},
			`{"input":{"action":"coap:get","resource":"/light","listing":false}}`,
		},
		"another zone": {strange, `"time":"2026-11-22T12:00:00Z"`},
		"empty scope":  {empty, `"scope":[]`},
	} {
		got, err := encode(test.r)
		if err != nil || string(got) != test.want && (test.want[0] == '{' || !strings.Contains(string(got), test.want)) {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, got, test.want)
		}
	}
	if got, _ := encode(strange); strings.Contains(string(got), "claims") || strings.Contains(string(got), "token\"") || strings.Contains(string(got), "user") {
		t.Errorf("unknown facts are there: %s", got)
	}
}

// What JSON cannot carry as it is is refused: else the program would judge one
// name and another would be used.
func TestUnfitText(t *testing.T) {
	_, where := local(t, answer(`{"result":true}`))
	c := open(t, Config{URL: where, Timeout: patient})
	for name, change := range map[string]func(*acl.Request){
		"resource": func(r *acl.Request) { r.Resource = "/light\xff" }, "user": func(r *acl.Request) { r.User = "\xed\xa0\x80" },
		"target": func(r *acl.Request) { r.Target = "\xc0\x80" }, "action": func(r *acl.Request) { r.Action = "\x80" },
		"claim": func(r *acl.Request) { r.Claims = map[string]any{"x": math.NaN()} }, "number": func(r *acl.Request) { r.Claims = map[string]any{"x": json.Number("1}")} },
		"time": func(r *acl.Request) { r.KeyAdded = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := full()
		change(r)
		if err := c.Ask(t.Context(), r); latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Names that are text survive as they are, whatever is in them.
func TestTextSurvives(t *testing.T) {
	for _, text := range []string{`/a"b\c`, "/a\x00b", "/<script>&", "/\u2028\ufffd", "/ü/😀", `","action":"coap:put`, "/%2e%2e"} {
		r := full()
		r.Resource = text
		body, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Input struct{ Action, Resource string }
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Input.Resource != text || got.Input.Action != "tunnel:open" {
			t.Errorf("%q became %q (%v)", text, got.Input.Resource, err)
		}
	}
}

// Every field of acl.Request and acl.Token is there. A new one has to be thought
// about: whether programs need it, and whether it is secret. What Expires says is
// judged before a program is asked.
func TestFieldsAreKnown(t *testing.T) {
	for value, want := range map[reflect.Type]string{
		reflect.TypeFor[acl.Request](): "Device Peer User Role Action Resource ServiceType Target Path Source Time KeyAdded KeyOrigin Expires Claims Token Listing",
		reflect.TypeFor[acl.Token]():   "Issuer Subject ID Role Scope Expires",
	} {
		var names []string
		for field := range value.Fields() {
			names = append(names, field.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%v has the fields %s\nthe input was made for  %s", value, got, want)
		}
	}
}

// Nothing else leaves the device: neither in the body nor around it.
func TestWholeRequest(t *testing.T) {
	type seen struct {
		method, target, host, body string
		header                     http.Header
	}
	requests := make(chan seen, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header}
		_, _ = io.WriteString(w, `{"result":true}`)
	})
	_, socket := local(t, h)
	s, roots := remote(t, h)
	for _, test := range []struct {
		c            Config
		target, host string
	}{
		{Config{URL: socket}, "/v1/data/latchkey/allow", "localhost"},
		{Config{URL: "unix://" + strings.TrimPrefix(socket, "unix:")}, "/v1/data/latchkey/allow", "localhost"},
		{Config{URL: socket + ":/v1/data/home/doors?pretty=1"}, "/v1/data/home/doors?pretty=1", "localhost"},
		{Config{URL: s.URL, Roots: roots}, "/v1/data/latchkey/allow", s.Listener.Addr().String()},
		{Config{URL: s.URL + "/", Roots: roots}, "/", s.Listener.Addr().String()},
		{Config{URL: s.URL + "/x%2Fy", Roots: roots}, "/x%2Fy", s.Listener.Addr().String()},
	} {
		test.c.Timeout = patient
		if err := open(t, test.c).Ask(t.Context(), full()); err != nil {
			t.Fatal(err)
		}
		got := <-requests
		if got.method != "POST" || got.target != test.target || got.host != test.host || got.body != fullText {
			t.Errorf("%s: %+v", test.c.URL, got)
		}
		want := http.Header{
			"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"latchkey"},
			"Content-Length": {fmt.Sprint(len(fullText))},
		}
		if !maps.EqualFunc(got.header, want, slices.Equal[[]string]) {
			t.Errorf("%s: header %v", test.c.URL, got.header)
		}
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []Config{
		{},
		{URL: "opa"},
		{URL: "http://127.0.0.1:8181"},
		{URL: "ftp://x/"},
		{URL: "https://"},
		{URL: "https:///x"},
		{URL: "https:x"},
		{URL: "HTTP://x"},
		{URL: "https://u:canary@x/"},
		{URL: "https://x/#canary"},
		{URL: "https://x:canary/"},
		{URL: "https://x/%zz"},
		{URL: "unix:"},
		{URL: "unix:run/opa.sock"},
		{URL: "unix://run/opa.sock"},
		{URL: "unix:/run/opa.sock:"},
		{URL: "unix:/run/opa.sock:v1"},
		{URL: "unix:/run/opa.sock:/%zz"},
		{URL: "unix:/run/opa.sock:/x#y"},
		{URL: "unix:/" + strings.Repeat("x", maxSocket)},
		{URL: "unix:/run/\x00"},
		{URL: "https://x/", Timeout: -1},
		{URL: "https://x/", Timeout: MaxTimeout + 1},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q, %v: %v", c.URL, c.Timeout, err)
		}
	}
}
