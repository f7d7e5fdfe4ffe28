package daemon

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/pairing"
)

// someKey is nobody's.
var someKey = strings.Repeat("0123456789abcdef", 4)

func key(text string) latchkey.Fingerprint {
	fp, err := latchkey.ParseFingerprint(text)
	if err != nil {
		panic(err)
	}
	return fp
}

func TestParseConfig(t *testing.T) {
	text := `
product: acme
device: gw-7
name: "Workshop: back"
listen: 127.0.0.1:5690
discovery: false
log_level: debug
services:
  web: tcp://127.0.0.1:8080
  ssh: tcp://127.0.0.1:22
  bus: unix:///run/bus.sock
routes:
  - path: /thermostat/**
    to: coap://127.0.0.1:5683
  - {path: /cam/**, to: http://127.0.0.1:8080}
pairing: [local-initial]
basestation:
  addresses: [203.0.113.5:5684, "[2001:db8::5]:443", b.example:5684, 203.0.113.5:5684]
  key: ` + someKey + `
limits: {sessions: 7, unpaired_life: 90s, body: 4096}
tokens:
  - issuer: https://idp.example
    jwks: https://idp.example/keys
    roles: {staff: user, "7": guest}
  - {issuer: two, audience: acme/gw-7, jwks: 'https://10.0.0.1/k', algorithms: [RS256], role_claim: groups, roles: {boss: admin}, allow_private: true, require_binding: true}
authorize: {webhook: 'unix:/run/opa.sock:/v1/data/home/allow', timeout: 500ms}
`
	want := &Config{
		ID: latchkey.DeviceID{Product: "acme", Device: "gw-7"}, Name: "Workshop: back",
		Listen: "127.0.0.1:5690", Level: slog.LevelDebug, Pairing: pairing.LocalInitial,
		Services: []device.Service{
			{ID: "bus", Target: "unix:///run/bus.sock"},
			{ID: "ssh", Target: "tcp://127.0.0.1:22"},
			{ID: "web", Target: "tcp://127.0.0.1:8080"},
		},
		Routes: []device.Route{
			{Path: "/thermostat/**", To: "coap://127.0.0.1:5683"},
			{Path: "/cam/**", To: "http://127.0.0.1:8080"},
		},
		Basestation: Basestation{[]string{"203.0.113.5:5684", "[2001:db8::5]:443", "b.example:5684"}, key(someKey)},
		Limits:      device.Limits{Sessions: 7, UnpairedLife: 90 * time.Second, Body: 4096},
		Tokens: []device.TokenIssuer{
			{Issuer: "https://idp.example", JWKS: "https://idp.example/keys", Roles: map[string]string{"staff": "user", "7": "guest"}},
			{
				Issuer: "two", Audience: "acme/gw-7", JWKS: "https://10.0.0.1/k", Algorithms: []string{"RS256"},
				RoleClaim: "groups", Roles: map[string]string{"boss": "admin"}, AllowPrivate: true,
			},
		},
		Authorize: Authorize{Webhook: "unix:/run/opa.sock:/v1/data/home/allow", Timeout: 500 * time.Millisecond},
	}
	got, err := ParseConfig("latchkeyd.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEmptyConfigIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "services:\nroutes:\npairing:\n", "---\n"} {
		got, err := ParseConfig("latchkeyd.yaml", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got.Listen != device.DefaultAddr || !got.Discovery || got.Level != slog.LevelInfo ||
			got.Pairing != 0 || len(got.Services) != 0 || len(got.Routes) != 0 || got.ID.Valid() {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestConfigErrors: every mistake is told with its place.
func TestConfigErrors(t *testing.T) {
	tests := []struct {
		name, text   string
		line, column int
		message      string // part of it
	}{
		{"unknown field", "name: a\nservcies: {}\n", 2, 1, "servcies"},
		{"unknown field below", "limits:\n  sesions: 4\n", 2, 3, "sesions"},
		{"unknown field in route", "routes:\n  - path: /a/**\n    too: coap://127.0.0.1\n", 3, 5, "too"},
		{"repeated field", "name: a\nname: b\n", 2, 1, "name"},
		{"repeated service", "services:\n  a: tcp://127.0.0.1:1\n  a: tcp://127.0.0.1:2\n", 3, 3, "a"},
		{"not yaml", "name: [a\n", 1, 7, ""},
		{"a list at the top", "- a\n", 1, 1, ""},
		{"service name", "services:\n  Web: tcp://127.0.0.1:1\n", 2, 3, "Web"},
		{"service target", "services:\n  web: http://127.0.0.1:1\n", 2, 3, "web"},
		{"service target kind", "services:\n  web: [a]\n", 2, 8, "text"},
		{"services as a list", "services:\n  - web\n", 2, 3, "mapping"},
		{"route", "routes:\n  - {path: no, to: coap://127.0.0.1}\n", 2, 5, "no"},
		{"route twice", "routes:\n  - {path: /a, to: coap://127.0.0.1}\n  - {path: /a, to: coap://127.0.0.2}\n", 3, 5, "twice"},
		{"routes as a text", "routes: none\n", 1, 9, "list"},
		{"pairing mode", "pairing: [local-initial, open]\n", 1, 26, "open"},
		{"pairing as a text", "pairing: local-initial\n", 1, 10, "list"},
		{"level", "log_level: loud\n", 1, 12, "loud"},
		{"listen", "listen: localhost\n", 1, 9, "[HOST]:PORT"},
		{"listen port", "listen: ':99999'\n", 1, 9, "[HOST]:PORT"},
		{"listen number", "listen: 5690\n", 1, 9, "[HOST]:PORT"},
		{"product alone", "name: a\nproduct: acme\n", 2, 10, "together"},
		{"device name", "product: acme\ndevice: Gate_1\n", 2, 9, "Gate_1"},
		{"limit below one", "limits: {sessions: 0}\n", 1, 20, "whole number"},
		{"limit as a text", "limits: {sessions: many}\n", 1, 20, "whole number"},
		{"limit of time", "limits: {unpaired_life: 90}\n", 1, 25, "duration"},
		{"discovery", "discovery: maybe\n", 1, 12, ""},
		{"basestation without a key", "basestation:\n  addresses: [203.0.113.5:5684]\n", 2, 14, "known by its key"},
		{"basestation without a port", "basestation: {addresses: [b.example], key: " + someKey + "}\n", 1, 27, "HOST:PORT"},
		{"basestation at port 0", "basestation: {addresses: ['b.example:0'], key: " + someKey + "}\n", 1, 27, "HOST:PORT"},
		{"basestation without a host", "basestation: {addresses: [':5684'], key: " + someKey + "}\n", 1, 27, "HOST:PORT"},
		{"basestation with a URL", "basestation: {addresses: ['https://b.example:1'], key: " + someKey + "}\n", 1, 27, "HOST:PORT"},
		{"basestations", "basestation: {addresses: [" + strings.Repeat("'b.example:1', ", 9) + "]}\n", 1, 26, "more than 8"},
		{"basestation's key", "basestation: {key: abcd}\n", 1, 20, "64 hexadecimal"},
		{"field of basestation", "basestation:\n  adresses: []\n", 2, 3, "adresses"},
		{"tokens as a text", "tokens: idp\n", 1, 9, "list"},
		{"field of an issuer", "tokens:\n  - issuer: i\n    juwks: https://x/\n", 3, 5, "juwks"},
		{"issuer without keys", "tokens:\n  - {issuer: i, roles: {a: user}}\n", 2, 5, "https://"},
		{"issuer with http", "tokens:\n  - {issuer: i, jwks: 'http://x/', roles: {a: user}}\n", 2, 5, "https://"},
		{"issuer without a name", "tokens:\n  - {jwks: 'https://x/', roles: {a: user}}\n", 2, 5, "needs an issuer"},
		{"issuer twice", "tokens:\n" + strings.Repeat("  - {issuer: i, jwks: 'https://x/', roles: {a: user}}\n", 2), 3, 5, "twice"},
		{"issuers", "tokens: [" + strings.Repeat("{}, ", 17) + "]\n", 1, 9, "more than 16"},
		{"algorithm", "tokens:\n  - {issuer: i, jwks: 'https://x/', algorithms: [HS256], roles: {a: user}}\n", 2, 5, "HS256"},
		{"algorithm none", "tokens:\n  - {issuer: i, jwks: 'https://x/', algorithms: [none], roles: {a: user}}\n", 2, 5, "none"},
		{"binding switched off", "tokens:\n  - {issuer: i, jwks: 'https://x/', require_binding: false, roles: {a: user}}\n", 2, 5, "cannot be switched off"},
		{"issuer without roles", "tokens:\n  - {issuer: i, jwks: 'https://x/'}\n", 2, 5, "has no roles"},
		{"roles as a list", "tokens:\n  - {issuer: i, jwks: 'https://x/', roles: [a]}\n", 2, 44, "mapping"},
		{"role unpaired", "tokens:\n  - {issuer: i, jwks: 'https://x/', roles: {a: unpaired}}\n", 2, 48, "unpaired"},
		{"role without a name", "tokens:\n  - {issuer: i, jwks: 'https://x/', roles: {a: ''}}\n", 2, 48, "no"},
		{"role as a list", "tokens:\n  - {issuer: i, jwks: 'https://x/', roles: {a: [b]}}\n", 2, 48, "text"},
		{"role of an empty claim", "tokens:\n  - {issuer: i, jwks: 'https://x/', roles: {'': user}}\n", 2, 45, "says nothing"},
		{"role of a claim twice", "tokens:\n  - issuer: i\n    roles:\n      a: b\n      a: c\n", 5, 7, "a"},
		{"authorize without a webhook", "authorize: {timeout: 1s}\n", 1, 12, "needs a webhook"},
		{"authorize as a text", "authorize: unix:/run/x\n", 1, 12, "mapping"},
		{"field of authorize", "authorize:\n  webhok: unix:/run/x\n", 2, 3, "webhok"},
		{"webhook with http", "authorize: {webhook: 'http://127.0.0.1:8181/'}\n", 1, 22, "not protected"},
		{"webhook of another kind", "authorize: {webhook: opa}\n", 1, 22, "unix:/SOCKET"},
		{"webhook as a list", "authorize: {webhook: [opa]}\n", 1, 22, "text"},
		{"webhook with a user", "authorize: {webhook: 'https://a:b@x/'}\n", 1, 22, "without user"},
		{"webhook's time", "authorize: {webhook: 'https://x/', timeout: 11s}\n", 1, 45, "no longer than 10s"},
		{"webhook's time without a unit", "authorize: {webhook: 'https://x/', timeout: 2}\n", 1, 45, "duration"},
		{"webhook without its CA", "authorize: {webhook: 'https://x/', ca: /nowhere/ca.pem}\n", 1, 40, "/nowhere/ca.pem"},
		{"webhook with a CA that is none", "authorize: {webhook: 'https://x/', ca: config_test.go}\n", 1, 40, "no certificates"},
		{"webhook with a CA that is no file", "authorize: {webhook: 'https://x/', ca: /}\n", 1, 40, "not a file"},
		{"name of many bytes", "name: " + strings.Repeat("x", 64) + "\n", 1, 7, "63"},
		{"name with a control character", "name: \"a\\nb\"\n", 1, 7, "control"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseConfig("latchkeyd.yaml", []byte(test.text))
			var e *settings.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v (%T), want a *settings.Error", err, err)
			}
			if e.Line != test.line || e.Column != test.column {
				t.Errorf("place %d:%d, want %d:%d", e.Line, e.Column, test.line, test.column)
			}
			if !strings.Contains(e.Message, test.message) {
				t.Errorf("message %q does not contain %q", e.Message, test.message)
			}
			if lines := strings.Split(test.text, "\n"); e.Source != lines[test.line-1] {
				t.Errorf("source line %q, want %q", e.Source, lines[test.line-1])
			}
		})
	}
}

func TestConfigErrorText(t *testing.T) {
	_, err := ParseConfig("/etc/x/latchkeyd.yaml", []byte("name: a\nservcies: {}\n"))
	want := "/etc/x/latchkeyd.yaml:2:1: unknown field \"servcies\"\n    2 | servcies: {}\n      | ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestOneDocumentOnly(t *testing.T) {
	_, err := ParseConfig("latchkeyd.yaml", []byte("name: a\n---\nname: b\n"))
	if err == nil || !strings.Contains(err.Error(), "more than one YAML document") {
		t.Errorf("error %v", err)
	}
}

func TestLoadConfigIsBounded(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("#", settings.MaxSize+1)
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig(dir); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("error %v", err)
	}
}

// TestSetupConfig: what Init writes is what it was told, and nothing is lost in
// quoting.
func TestSetupConfig(t *testing.T) {
	for _, name := range []string{"", "shop", "true", "7", "Büro: \"hinten\" #1", "- a", "null", "[x]", "~", "1e3", "a: b", "'", "2020-01-01"} {
		s := Setup{
			Product: "on", Device: "7", Name: name, Listen: "[::1]:0",
			Services: []string{"ssh=tcp://127.0.0.1:22", "true=unix:///run/a b=c.sock"}, Pairing: []string{"local-initial"},
			Basestations: []string{"[2001:db8::5]:5684", "203.0.113.5:443"}, BasestationKey: someKey,
		}
		text, err := s.config()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseConfig("latchkeyd.yaml", text)
		if err != nil {
			t.Errorf("%q: %v\n%s", name, err, text)
			continue
		}
		want := &Config{
			ID: latchkey.DeviceID{Product: "on", Device: "7"}, Name: name, Listen: "[::1]:0", Discovery: true,
			Services:    []device.Service{{ID: "ssh", Target: "tcp://127.0.0.1:22"}, {ID: "true", Target: "unix:///run/a b=c.sock"}},
			Basestation: Basestation{[]string{"[2001:db8::5]:5684", "203.0.113.5:443"}, key(someKey)},
			Routes:      []device.Route{}, Pairing: pairing.LocalInitial, Level: slog.LevelInfo,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("name: a\nservices:\n  ssh: tcp://127.0.0.1:22\n"))
	f.Add([]byte("routes: [{path: /a/**, to: 'coap://127.0.0.1'}]\nlimits: {body: 1}\n"))
	f.Add([]byte("services: &a {x: *a}\npairing: !!str x\n"))
	f.Add([]byte("? a\n: - b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := ParseConfig("latchkeyd.yaml", text)
		var e *settings.Error
		switch {
		case err == nil && config == nil:
			t.Error("neither configuration nor error")
		case err != nil && !errors.As(err, &e):
			t.Errorf("error %v (%T) without a place", err, err)
		case err != nil && e.Error() == "":
			t.Error("an error without text")
		}
	})
}
