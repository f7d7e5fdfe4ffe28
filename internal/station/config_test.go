package station

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

func TestParseConfig(t *testing.T) {
	text := `
listen: 127.0.0.1:5684
public_addresses: [203.0.113.5, "2001:db8::1", bs.example.org, "203.0.113.6:443", "[2001:db8::2]:443"]
metrics_from: [10.0.0.0/8, 127.0.0.1, "fd00::/8"]
log_level: warn
issuers:
  - issuer: https://id.example.org
    audience: latchkey
    jwks: https://id.example.org/jwks.json
    algorithms: [RS256]
    devices_claim: things
    products: [acme]
    require_binding: false
    allow_private: true
    refresh: 5m
    max_age: 1h
  - {issuer: other, audience: latchkey, jwks: "https://other.example.org/k"}
limits:
  sessions: 1
  streams: 2
  per_source: 3
  streams_per_source: 4
  handshakes: 5
  handshakes_per_source: 6
  introductions: 7
  introductions_per_client: 8
  introductions_per_device: 9
  wait: 10s
  drain: 12s
  relay: {first_use: 13s, duration: 14s, bytes: 15GiB, rate: 16 MiB, sessions: 17, sessions_per_client: 18, sessions_per_device: 19}
`
	no := false
	want := &Config{
		Listen: "127.0.0.1:5684", Level: slog.LevelWarn,
		PublicAddrs: []string{"203.0.113.5:5684", "[2001:db8::1]:5684", "bs.example.org:5684", "203.0.113.6:443", "[2001:db8::2]:443"},
		MetricsFrom: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8"),
		},
		Issuers: []basestation.Issuer{
			{
				Issuer: "https://id.example.org", Audience: "latchkey", JWKS: "https://id.example.org/jwks.json",
				Algorithms: []string{"RS256"}, DevicesClaim: "things", Products: []string{"acme"}, RequireBinding: &no,
				AllowPrivate: true, Refresh: 5 * time.Minute, MaxAge: time.Hour,
			},
			{Issuer: "other", Audience: "latchkey", JWKS: "https://other.example.org/k"},
		},
		Limits: basestation.Limits{
			Sessions: 1, Streams: 2, PerSource: 3, StreamsPerSource: 4, Handshakes: 5, PerPrefix: 6,
			Introductions: 7, PerClient: 8, PerDevice: 9,
			WaitMax: 10 * time.Second, Drain: 12 * time.Second,
			Relay: basestation.RelayLimits{
				FirstUse: 13 * time.Second, Duration: 14 * time.Second, Bytes: 15 << 30, Rate: 16 << 20,
				Grants: 17, PerClient: 18, PerDevice: 19,
			},
		},
	}
	got, err := ParseConfig(ConfigFile, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEmptyConfigIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "issuers:\npublic_addresses:\nlimits:\n"} {
		got, err := ParseConfig(ConfigFile, []byte(text))
		if err != nil || !reflect.DeepEqual(got, &Config{Listen: basestation.DefaultAddr}) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestConfigErrors: every mistake is told with its place.
func TestConfigErrors(t *testing.T) {
	issuer := "issuers:\n  - issuer: a\n    audience: b\n    jwks: https://c.example.org/\n"
	tests := []struct {
		name, text   string
		line, column int
		message      string // part of it
	}{
		{"unknown field", "listen: ':1'\nlistne: ':2'\n", 2, 1, "listne"},
		{"unknown limit", "limits:\n  sesions: 4\n", 2, 3, "sesions"},
		{"limit that peers would not know of", "limits:\n  keep_alive: 2s\n", 2, 3, "keep_alive"},
		{"unknown limit of the relay", "limits:\n  relay:\n    sesions: 4\n", 3, 5, "sesions"},
		{"limit below one", "limits: {sessions: 0}\n", 1, 20, "whole number"},
		{"size", "limits: {relay: {rate: 5MB}}\n", 1, 24, "5MB"},
		{"size too large", "limits: {relay: {bytes: 9999999999TiB}}\n", 1, 25, "bytes"},
		{"listen", "listen: localhost\n", 1, 9, "[HOST]:PORT"},
		{"level", "log_level: loud\n", 1, 12, "loud"},
		{"public addresses as a text", "public_addresses: 203.0.113.5\n", 1, 19, "list"},
		{"public address", "public_addresses:\n  - 203.0.113.5\n  - 203.0.113\n", 3, 5, "203.0.113"},
		{"public wildcard", "public_addresses: [0.0.0.0]\n", 1, 20, "0.0.0.0"},
		{"public wildcard with port", "public_addresses: ['[::]:5684']\n", 1, 20, "[::]"},
		{"public port 0", "public_addresses: ['a.example:0']\n", 1, 20, "a.example:0"},
		{"public port too large", "public_addresses: ['a.example:70000']\n", 1, 20, "70000"},
		{"public URL", "public_addresses: [https://a.example]\n", 1, 20, "https"},
		{"public empty", "public_addresses: ['']\n", 1, 20, "not an address"},
		{"public without a port", "listen: ':0'\npublic_addresses: [203.0.113.5]\n", 2, 20, "needs its port"},
		{"too many public", "public_addresses: [a.b, a.c, a.d, a.e, a.f, a.g, a.h, a.i, a.j]\n", 1, 60, "8 public addresses"},
		{"issuer without jwks", "issuers:\n  - issuer: a\n    audience: b\n", 2, 5, "https"},
		{"issuer by http", "issuers: [{issuer: a, audience: b, jwks: 'http://c.example.org/'}]\n", 1, 11, "https"},
		{"issuer's algorithm", issuer + "    algorithms: [HS256]\n", 2, 5, "HS256"},
		{"issuer's unknown field", issuer + "    audiance: x\n", 5, 5, "audiance"},
		{"issuer's age", issuer + "    refresh: never\n", 5, 14, "never"},
		{"issuer twice", issuer + strings.TrimPrefix(issuer, "issuers:\n"), 5, 5, "twice"},
		{"metrics", "metrics_from: [10.0.0.1/8]\n", 1, 16, "10.0.0.1/8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseConfig(ConfigFile, []byte(test.text))
			var e *settings.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v (%T), want a *settings.Error", err, err)
			}
			if e.Line != test.line || e.Column != test.column || !strings.Contains(e.Message, test.message) {
				t.Errorf("%d:%d %q, want %d:%d with %q", e.Line, e.Column, e.Message, test.line, test.column, test.message)
			}
		})
	}
}

// TestSetupConfig: what Init writes is what it was told.
func TestSetupConfig(t *testing.T) {
	s := Setup{Listen: "[::1]:7", PublicAddrs: []string{"203.0.113.5", "bs.example.org:443", "2001:db8::1"}}
	got, err := ParseConfig(ConfigFile, s.config())
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Listen: "[::1]:7", PublicAddrs: []string{"203.0.113.5:7", "bs.example.org:443", "[2001:db8::1]:7"},
		Issuers: []basestation.Issuer{}, MetricsFrom: []netip.Prefix{},
	}
	if got.Issuers == nil {
		got.Issuers = []basestation.Issuer{}
	}
	if got.MetricsFrom == nil {
		got.MetricsFrom = []netip.Prefix{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestGeneratedConfigTellsEverything: each setting is in the text that Init
// writes, and what is commented out is right when it is not.
func TestGeneratedConfigTellsEverything(t *testing.T) {
	text := string(Setup{}.config())
	for _, v := range []any{file{}, limits{}, relayLimits{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name := typ.Field(i).Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)^[# *]*` + name + `:`).MatchString(text) {
				t.Errorf("%s is not in the generated configuration", name)
			}
		}
	}
	_, examples, _ := strings.Cut(text, "# Who issues")
	examples = regexp.MustCompile(`(?m)^(issuers: \[\]|limits: \{\})$`).ReplaceAllString(examples, "")
	var real strings.Builder
	for _, line := range strings.Split(examples, "\n") {
		switch {
		case strings.HasPrefix(line, "# Absent"):
			real.WriteString("limits:\n")
		case strings.HasPrefix(line, "#   - issuer:"):
			fmt.Fprintf(&real, "issuers:\n  %s\n", line[4:])
		case strings.HasPrefix(line, "#   "), strings.HasPrefix(line, "# * "):
			fmt.Fprintf(&real, "  %s\n", line[4:])
		}
	}
	c, err := ParseConfig(ConfigFile, []byte(real.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, real.String())
	}
	if len(c.Issuers) != 1 || c.Limits.Sessions != 20000 || c.Limits.Relay.Bytes != 64<<30 {
		t.Errorf("got %+v", c)
	}
	if v := reflect.ValueOf(c.Limits); v.NumField() < 10 {
		t.Errorf("%d limits", v.NumField())
	} else {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("no value for limit %s", v.Type().Field(i).Name)
			}
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("listen: ':1'\npublic_addresses: [a, '[::1]:2']\n"))
	f.Add([]byte("issuers: [{issuer: a, audience: b, jwks: 'https://c/'}]\nlimits: {relay: {rate: 1KiB}}\n"))
	f.Add([]byte("metrics_from: &a [*a, 10.0.0.0/8]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := ParseConfig(ConfigFile, text)
		var e *settings.Error
		switch {
		case err == nil && config == nil:
			t.Error("neither configuration nor error")
		case err != nil && !errors.As(err, &e):
			t.Errorf("error %v (%T) without a place", err, err)
		}
	})
}
