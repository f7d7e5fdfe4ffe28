package acl

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"pgregory.net/rapid"
)

// Small alphabets, so that things meet.
var (
	someActions  = []string{"coap:get", "coap:put", "tunnel:open"}
	someSegments = []string{"", "a", "b", "ab", "*", "**", "alice", "${connection.user}", "x.y", "http:"}
	somePatterns = []string{
		"a", "b", "ab", "*", "**", "**", "${connection.user}", "a${connection.user}", "${device.id}",
		"${key.origin}${connection.user}", "x.y", "${claim.g}", "${claim.n}${connection.user}",
	}
	someUsers     = []string{"", "a", "b", "alice", "*", "**", "a/b", "..", "${connection.user}", ".*", "x.y"}
	someAttribute = []string{
		"connection.user", "connection.role", "connection.path", "key.origin", "device.id", "device.product", "service.type",
		"claim.g", "claim.n", "connection.source", "time", "time", "key.age",
	}
	someSources  = []string{"", "10.0.0.1", "192.168.1.1", "::ffff:10.0.0.1", "fd00::1%eth0", "fe80::1"}
	somePrefixes = []string{"10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "::/0", "0.0.0.0/0"}
	someWindows  = []string{
		"08:00-20:00 UTC", "22:00-06:00 +02:00", "mon-fri 09:00-17:30 Europe/Berlin", "sat,sun 00:00-24:00 -03:30",
		"fri-mon 23:59-00:01 America/New_York", "00:00-24:00 UTC", "wed 12:00-11:59 Asia/Kathmandu", "08:00-20:00 Mars/Base",
	}
	someAges   = []string{"1h", "60m", "3600s", "30d", "720h", "1s"}
	someClaims = []any{
		"a", "b", "alice", "*", "a/b", "", 1.0, true, nil,
		map[string]any{"a": "a"},
		[]any{},
		[]any{"a"},
		[]any{"b", "a"},
		[]any{"alice", "**"},
		[]any{"a", ""},
		[]any{"a", 1.0},
		[]any{[]any{"a"}},
	}
	// Around a change to summer time, one from it, and the end of a year.
	someTimes = []string{"2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z", "2026-12-31T00:00:00Z"}
)

func drawList[T any](t *rapid.T, label string, one func() T) (out []T) {
	for range rapid.IntRange(1, 3).Draw(t, label) {
		out = append(out, one())
	}
	return out
}

func pick[T any](t *rapid.T, from []T, label string) T { return rapid.SampledFrom(from).Draw(t, label) }

func drawStatement(t *rapid.T) Statement {
	s := Statement{Effect: pick(t, []Effect{Allow, Deny}, "effect")}
	actions := append([]string{"*", "coap:*"}, someActions...)
	if s.Effect == Deny {
		if s.Mode = pick(t, []Mode{Respond, Disconnect, Silent}, "mode"); s.Mode == Silent {
			actions = []string{"coap:put"}
		}
	}
	s.Actions = drawList(t, "actions", func() string { return pick(t, actions, "action") })
	s.Resources = drawList(t, "resources", func() string {
		p := strings.Join(drawList(t, "segments", func() string { return pick(t, somePatterns, "segment") }), "/")
		return pick(t, []string{"", "/", "/", "http://"}, "lead") + p
	})
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		s.Conditions = append(s.Conditions, drawCondition(t))
	}
	return s
}

func drawCondition(t *rapid.T) Condition {
	c := Condition{Attribute: pick(t, someAttribute, "attribute")}
	operators, values := []Operator{Equals, NotEquals}, somePatterns
	switch c.Attribute {
	case "connection.source":
		operators, values = []Operator{In, NotIn}, somePrefixes
	case "time":
		operators, values = []Operator{Within, NotWithin}, someWindows
	case "key.age":
		operators, values = []Operator{Below, AtLeast}, someAges
	case "connection.path":
		values = []string{"local", "direct", "relay"}
	case "service.type":
		values = []string{"tcp", "udp"}
	}
	c.Operator = pick(t, operators, "operator")
	c.Values = drawList(t, "values", func() string { return pick(t, values, "value") })
	if c.Attribute == "key.age" {
		c.Values = c.Values[:1]
	}
	return c
}

func drawRequest(t *rapid.T) *Request {
	r := &Request{
		Action: Action(pick(t, someActions, "action")),
		User:   pick(t, someUsers, "user"), Role: pick(t, someUsers, "role"), KeyOrigin: pick(t, someUsers, "origin"),
		Path:        PathKind(pick(t, []string{"", "local", "direct", "relay"}, "path")),
		ServiceType: pick(t, []string{"", "tcp", "udp"}, "type"),
	}
	var segments []string
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		segments = append(segments, pick(t, someSegments, "segment"))
	}
	r.Resource = pick(t, []string{"", "/", "/", "http://"}, "lead") + strings.Join(segments, "/")
	if s := pick(t, someSources, "source"); s != "" {
		r.Source = netip.MustParseAddr(s)
	}
	if rapid.Bool().Draw(t, "device") {
		r.Device = latchkey.DeviceID{Product: "a", Device: "b"}
	}
	drawTimes(t, r)
	for _, name := range []string{"g", "n"} {
		if rapid.Bool().Draw(t, "has "+name) {
			if r.Claims == nil {
				r.Claims = make(map[string]any)
			}
			r.Claims[name] = pick(t, someClaims, name)
		}
	}
	return r
}

// drawTimes sets when the request comes and when its key came.
func drawTimes(t *rapid.T, r *Request) {
	now, err := time.Parse(time.RFC3339, pick(t, someTimes, "time"))
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Duration(rapid.IntRange(0, 7*24*60).Draw(t, "minutes")) * time.Minute)
	if rapid.IntRange(0, 5).Draw(t, "clock") > 0 {
		r.Time = now
	}
	ages := []time.Duration{-time.Hour, 0, time.Second, time.Hour - 1, time.Hour, 720 * time.Hour, 24 * 365 * time.Hour}
	if rapid.Bool().Draw(t, "added") {
		r.KeyAdded = now.Add(-pick(t, ages, "age"))
	}
}

// checkAgainstModel draws policies and requests, and compares all that Evaluate
// says with the model. It counts effects in seen.
func checkAgainstModel(t *rapid.T, requests int, seen map[Effect]int) {
	var policies []*Policy
	for range rapid.IntRange(0, 3).Draw(t, "policies") {
		var statements []Statement
		for range rapid.IntRange(0, 3).Draw(t, "statements") {
			statements = append(statements, drawStatement(t))
		}
		p, err := newPolicy("p", statements, &zones{lenient: true})
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	for range requests {
		r := drawRequest(t)
		want := modelJudge(r, policies)
		if got := modelOf(decide(r, policies, nil), policies); got != want {
			t.Fatalf("%+v\n got %+v without a trace, the model says %+v", r, got, want)
		}
		d := Evaluate(r, policies...)
		if d.Effect != want.effect || d.Mode != want.mode || d.Effect != NoMatch && d.Statement != want.statement+1 {
			t.Fatalf("%+v\n got %+v, the model says %+v", r, d, want)
		}
		checkTrace(t, r, policies, d.Trace)
		seen[want.effect]++
	}
}

func modelOf(v verdict, policies []*Policy) modelVerdict {
	return modelVerdict{v.effect, max(slices.Index(policies, v.policy), 0), v.index, v.mode()}
}

// checkTrace compares each step with the model, also whether it says that a deny
// matches for want of a fact.
func checkTrace(t *rapid.T, r *Request, policies []*Policy, trace []Step) {
	if len(trace) == 0 {
		return // an unclean request; the verdict was compared
	}
	for _, p := range policies {
		for _, s := range p.Statements() {
			step := trace[0]
			trace = trace[1:]
			if want := modelMatches(r, s, s.Effect == Deny); step.Matched != want {
				t.Fatalf("%+v\n%+v\n says %+v, the model %t", r, s, step, want)
			}
			gap := step.Matched && !modelMatches(r, s, false)
			if step.Matched && strings.HasPrefix(step.Reason, "matches, because ") != gap {
				t.Fatalf("%+v\n%+v\n says %+v, and a fact is missing: %t", r, s, step, gap)
			}
		}
	}
	if len(trace) > 0 {
		t.Fatalf("%d steps too many", len(trace))
	}
}

func TestEvaluateEqualsModel(t *testing.T) {
	seen := make(map[Effect]int)
	rapid.Check(t, func(t *rapid.T) { checkAgainstModel(t, 40, seen) })
	if testing.Short() {
		return // a fifth of the checks may miss a kind
	}
	for _, e := range []Effect{NoMatch, Allow, Deny} {
		if seen[e] < 10 {
			t.Errorf("only %d decisions were %q: the generator is too narrow", seen[e], e)
		}
	}
}

// FuzzEvaluate lets the fuzzer choose what the test above draws.
func FuzzEvaluate(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef"))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { checkAgainstModel(t, 4, make(map[Effect]int)) }))
}

// FuzzResource compares one pattern with one resource, for strings that the
// property test would never draw.
func FuzzResource(f *testing.F) {
	for _, s := range [][3]string{
		{"/light/**", "/light/1/2", "alice"},
		{"/a/*/b", "/a//b", "*"},
		{"${connection.user}/**/x", "a/b/x", "a"},
		{"**/${connection.user}", "a/b", "b"},
		{"http://h/**", "http://h/../x", ""},
		{"a${connection.user}b", "aab", "a"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, pattern, resource, user string) {
		for _, effect := range []Effect{Allow, Deny} {
			p, err := NewPolicy("p", Statement{Effect: effect, Actions: []string{"*"}, Resources: []string{pattern}})
			if err != nil || strings.Contains(user, "\xff") || !isValid(resource, user) {
				return
			}
			r := &Request{Action: CoAPGet, Resource: resource, User: user}
			if got, want := decide(r, []*Policy{p}, nil).effect, modelDecide(r, []*Policy{p}); got != want {
				t.Errorf("pattern %q, resource %q, user %q: got %s, the model says %s", pattern, resource, user, got, want)
			}
		}
	})
}

// isValid keeps texts from the model that regular expressions cannot hold.
func isValid(texts ...string) bool {
	for _, s := range texts {
		if strings.ToValidUTF8(s, "") != s {
			return false
		}
	}
	return true
}
