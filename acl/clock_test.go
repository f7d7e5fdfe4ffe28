package acl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that these tests run where no zones are installed
)

func TestCompileWindowRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "is not a time such as"},
		{"18:00-23:00", "is not a time such as"},
		{"UTC", "is not a time such as"},
		{"18:00 - 23:00 UTC", "is not a time such as"},
		{"mon 18:00-23:00 UTC extra", "is not a time such as"},
		{" 18:00-23:00 UTC", "are not days"},
		{"18:00-23:00  UTC", "are not days"},
		{"18:00 UTC", "a beginning and an end are needed"},
		{"18:00-23:00-24:00 UTC", `"23:00-24:00" is not a time of day`},
		{"1:00-2:00 UTC", `"1:00" is not a time of day`},
		{"18:00-25:00 UTC", `"25:00" is not a time of day`},
		{"18:00-24:01 UTC", `"24:01" is not a time of day`},
		{"18:60-23:00 UTC", `"18:60" is not a time of day`},
		{"18:00-23:00:00 UTC", `"23:00:00" is not a time of day`},
		{"18.00-23.00 UTC", `"18.00" is not a time of day`},
		{"+1:00-23:00 UTC", `"+1:00" is not a time of day`},
		{"٠٨:٠٠-23:00 UTC", "is not a time of day"},
		{"18:00-18:00 UTC", "is empty; a whole day is 00:00-24:00"},
		{"24:00-08:00 UTC", "a day begins at 00:00"},
		{"18:00-00:00 UTC", "a day ends at 24:00"},
		{"Mon 18:00-23:00 UTC", "are not days"},
		{"monday 18:00-23:00 UTC", "are not days"},
		{"mon- 18:00-23:00 UTC", "are not days"},
		{"mon-mon 18:00-23:00 UTC", "are not days"},
		{"mon, 18:00-23:00 UTC", "are not days"},
		{"mon-wed-fri 18:00-23:00 UTC", "are not days"},
		{"mon,mon 18:00-23:00 UTC", "mon stands there twice"},
		{"mon-fri,thu 18:00-23:00 UTC", "thu stands there twice"},
		{"fri-mon,sun 18:00-23:00 UTC", "sun stands there twice"},
		{"18:00-23:00 utc", "this machine does not know the time zone"},
		{"18:00-23:00 Local", "is not a time zone"},
		{"18:00-23:00 /etc/localtime", "is not a time zone"},
		{"18:00-23:00 Europe/../../../../etc/passwd", "is not a time zone"},
		{"18:00-23:00 Europe\\Berlin", "is not a time zone"},
		{"18:00-23:00 " + strings.Repeat("a", 65), "is not a time zone"},
		{"18:00-23:00 Mars/Base", "this machine does not know the time zone"},
		{"18:00-23:00 +14:01", "an offset lies between"},
		{"18:00-23:00 +2", "an offset lies between"},
		{"18:00-23:00 02:00", "is not a time zone"},
	} {
		_, err := compileWindow(c.text, new(zones))
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, new(*Mistake)) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

// Days are tried one by one, over a whole week.
func TestWindowDays(t *testing.T) {
	sunday := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"":                            "sun mon tue wed thu fri sat",
		"mon-fri ":                    "mon tue wed thu fri",
		"sat,sun ":                    "sun sat",
		"fri-mon ":                    "sun mon fri sat",
		"wed ":                        "wed",
		"sun-sat ":                    "sun mon tue wed thu fri sat",
		"mon,wed-thu,sat ":            "mon wed thu sat",
		"sun,mon,tue,wed,thu,fri,sat": "sun mon tue wed thu fri sat",
	} {
		w, err := compileWindow(strings.TrimSpace(text)+" 00:00-24:00 UTC", new(zones))
		if text == "" {
			w, err = compileWindow("00:00-24:00 UTC", new(zones))
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range 7 {
			if in, _ := w.contains(sunday.AddDate(0, 0, i)); in {
				got = append(got, weekdays[i])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestParseAge(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "720h": 720 * time.Hour, "30d": 720 * time.Hour, "1s": time.Second, "0s": 0, "36500d": maxAge,
		"": -1, "d": -1, "30": -1, "1.5h": -1, "-1d": -1, "+1d": -1, "01d": -1, "1h30m": -1, "1 d": -1, "1D": -1, "1w": -1, "1ms": -1,
		"36501d": -1, "99999999999999999999s": -1, "4294967296s": -1, "²d": -1,
	} {
		got, err := parseAge(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %s, %v", s, got, err)
		}
		if err == nil {
			if again, err := parseAge(formatAge(got)); err != nil || again != got {
				t.Errorf("%q is written %q", s, formatAge(got))
			}
		}
	}
}

const marsPolicy = `{"name":"mars","statements":[` +
	`{"effect":"allow","actions":["coap:*"],"resources":["**"],"conditions":[{"attribute":"time","operator":"within","values":["08:00-20:00 Mars/Base"]}]},` +
	`{"effect":"allow","actions":["coap:get"],"resources":["/noon"],"conditions":[{"attribute":"time","operator":"within","values":["08:00-20:00 Mars/Base","12:00-13:00 UTC"]}]},` +
	`{"effect":"deny","actions":["tunnel:open"],"resources":["**"],"conditions":[{"attribute":"time","operator":"not-within","values":["08:00-20:00 Mars/Base"]}]}]}`

// A zone that this machine does not know is an error where a person wrote it, and
// an unknown fact where it was stored.
func TestUnknownZone(t *testing.T) {
	if _, err := ParsePolicy("p", []byte(marsPolicy)); err == nil || !strings.Contains(err.Error(), `p:1:`) {
		t.Fatalf("%v", err)
	}
	p, err := parseStored("p", []byte(marsPolicy))
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const unknown = `this machine does not know the time zone "Mars/Base"`
	for _, c := range []struct {
		r      Request
		effect Effect
		reason string // of the first step with one
	}{
		{Request{Action: CoAPPut, Resource: "/x", Time: noon}, NoMatch, unknown},
		{Request{Action: CoAPGet, Resource: "/noon", Time: noon}, Allow, unknown},
		{Request{Action: CoAPGet, Resource: "/noon", Time: noon.Add(time.Hour)}, NoMatch, unknown},
		{Request{Action: TunnelOpen, Resource: "ssh", Time: noon}, Deny, unknown},
		{Request{Action: TunnelOpen, Resource: "ssh"}, Deny, "the clock is not known"},
	} {
		d := Evaluate(&c.r, p)
		if d.Effect != c.effect || !strings.Contains(text(t, d.Trace), strings.ReplaceAll(c.reason, `"`, `\"`)) {
			t.Errorf("%+v: %+v", c.r, d)
		}
	}
	for _, broken := range []string{"Mars/../Base", "Local", "+99:00"} {
		if _, err := parseStored("p", []byte(strings.ReplaceAll(marsPolicy, "Mars/Base", broken))); err == nil {
			t.Errorf("%s: accepted", broken)
		}
	}
}

// A store opens on a machine that does not know a zone in it.
func TestStoreOpensWithUnknownZone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "access.db")
	s, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseStored("p", []byte(marsPolicy))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(tx *Tx) error { return tx.PutPolicy(p) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	rules, err := s.Rules()
	if err != nil || text(t, findPolicy(rules.Policies, "mars")) != marsPolicy {
		t.Errorf("%v, %v", rules, err)
	}
}

// Many windows of one zone look it up once.
func TestZonesAreFoundOnce(t *testing.T) {
	var z zones
	a, err := z.find("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := z.find("Europe/Berlin"); a != b {
		t.Error("looked up twice")
	}
}
