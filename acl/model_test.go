package acl

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"pgregory.net/rapid"
)

// The model decides as the package documentation says, in the plainest way: it
// turns patterns into regular expressions and looks at every statement. It
// shares no code with the evaluator.

func modelDecide(r *Request, policies []*Policy) Effect {
	for _, s := range strings.Split(r.Resource, "/") {
		if s == "." || s == ".." {
			return NoMatch
		}
	}
	if r.Action == "" || len(r.Resource) > 4096 || strings.Count(r.Resource, "/") >= 128 {
		return NoMatch
	}
	effect := NoMatch
	for _, p := range policies {
		for _, s := range p.Statements() {
			if !modelMatches(r, s) {
				continue
			}
			if s.Effect == Deny {
				return Deny
			}
			effect = Allow
		}
	}
	return effect
}

func modelMatches(r *Request, s Statement) bool {
	unsure := s.Effect == Deny
	action, resource := false, false
	for _, pattern := range s.Actions {
		e := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
		action = action || regexp.MustCompile(e).MatchString(string(r.Action))
	}
	for _, pattern := range s.Resources {
		resource = resource || modelResource(r, pattern, unsure)
	}
	if !action || !resource {
		return false
	}
	for _, c := range s.Conditions {
		if !modelCondition(r, c, unsure) {
			return false
		}
	}
	return true
}

// modelValues are the attributes that a request has.
func modelValues(r *Request) map[string]string {
	all := map[string]string{
		"connection.user": r.User, "connection.role": r.Role, "connection.path": string(r.Path),
		"key.fingerprint": r.Peer.String(), "key.origin": r.KeyOrigin, "service.type": r.ServiceType,
	}
	if r.Device.Product != "" {
		all["device.id"] = r.Device.Product + "/" + r.Device.Device
		all["device.product"], all["device.unit"] = r.Device.Product, r.Device.Device
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}

var modelVariable = regexp.MustCompile(`\$\{([a-z.]+)\}`)

func modelResource(r *Request, pattern string, unsure bool) bool {
	values := modelValues(r)
	pattern = strings.ReplaceAll(pattern, "${device.id}", "${device.product}/${device.unit}")
	expression := "(?s)^"
	for _, segment := range strings.Split(pattern, "/") {
		switch segment {
		case "**":
			expression += "(?:/[^/]*)*"
			continue
		case "*":
			expression += "/[^/]+"
			continue
		}
		unknown := false
		for _, v := range modelVariable.FindAllStringSubmatch(segment, -1) {
			if values[v[1]] == "" || strings.Contains(values[v[1]], "/") {
				unknown = true
			}
		}
		switch {
		case unknown && unsure:
			expression += "/[^/]*"
		case unknown:
			return false
		default:
			expression += "/" + regexp.QuoteMeta(modelVariable.ReplaceAllStringFunc(segment, func(v string) string {
				return values[v[2:len(v)-1]]
			}))
		}
	}
	return regexp.MustCompile(expression + "$").MatchString("/" + r.Resource)
}

func modelCondition(r *Request, c Condition, unsure bool) bool {
	var hits, unknown int
	if c.Attribute == "connection.source" {
		if !r.Source.IsValid() {
			return unsure
		}
		for _, v := range c.Values {
			if netip.MustParsePrefix(v).Contains(r.Source.Unmap().WithZone("")) {
				hits++
			}
		}
	} else {
		values := modelValues(r)
		if values[c.Attribute] == "" {
			return unsure
		}
		for _, v := range c.Values {
			full := modelVariable.ReplaceAllStringFunc(v, func(v string) string {
				return values[v[2:len(v)-1]]
			})
			absent := false
			for _, name := range modelVariable.FindAllStringSubmatch(v, -1) {
				absent = absent || values[name[1]] == ""
			}
			if absent {
				unknown++
			} else if full == values[c.Attribute] {
				hits++
			}
		}
	}
	positive := c.Operator == Equals || c.Operator == In
	if hits == 0 && unknown > 0 {
		return unsure
	}
	return (hits > 0) == positive
}

// Small alphabets, so that things meet.
var (
	someActions   = []string{"coap:get", "coap:put", "tunnel:open"}
	someSegments  = []string{"", "a", "b", "ab", "*", "**", "alice", "${connection.user}", "x.y", "http:"}
	somePatterns  = []string{"a", "b", "ab", "*", "**", "**", "${connection.user}", "a${connection.user}", "${device.id}", "${key.origin}${connection.user}", "x.y"}
	someUsers     = []string{"", "a", "b", "alice", "*", "**", "a/b", "..", "${connection.user}", ".*", "x.y"}
	someAttribute = []string{"connection.user", "connection.role", "connection.path", "key.origin", "device.id", "device.product", "service.type"}
	someSources   = []string{"", "10.0.0.1", "192.168.1.1", "::ffff:10.0.0.1", "fd00::1%eth0", "fe80::1"}
	somePrefixes  = []string{"10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "::/0", "0.0.0.0/0"}
)

func drawStatement(t *rapid.T) Statement {
	pick := func(from []string, label string) string { return rapid.SampledFrom(from).Draw(t, label) }
	list := func(label string, one func() string) (out []string) {
		for range rapid.IntRange(1, 3).Draw(t, label) {
			out = append(out, one())
		}
		return out
	}
	s := Statement{Effect: rapid.SampledFrom([]Effect{Allow, Deny}).Draw(t, "effect")}
	s.Actions = list("actions", func() string { return pick(append([]string{"*", "coap:*"}, someActions...), "action") })
	s.Resources = list("resources", func() string {
		p := strings.Join(list("segments", func() string { return pick(somePatterns, "segment") }), "/")
		return pick([]string{"", "/", "/", "http://"}, "lead") + p
	})
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		c := Condition{Operator: rapid.SampledFrom([]Operator{Equals, NotEquals}).Draw(t, "operator")}
		switch c.Attribute = pick(append([]string{"connection.source"}, someAttribute...), "attribute"); c.Attribute {
		case "connection.source":
			c.Operator = rapid.SampledFrom([]Operator{In, NotIn}).Draw(t, "operator")
			c.Values = list("values", func() string { return pick(somePrefixes, "prefix") })
		case "connection.path":
			c.Values = list("values", func() string { return pick([]string{"local", "direct", "relay"}, "path") })
		case "service.type":
			c.Values = list("values", func() string { return pick([]string{"tcp", "udp"}, "type") })
		default:
			c.Values = list("values", func() string { return pick(somePatterns, "value") })
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

func drawRequest(t *rapid.T) *Request {
	pick := func(from []string, label string) string { return rapid.SampledFrom(from).Draw(t, label) }
	r := &Request{
		Action: Action(pick(someActions, "action")),
		User:   pick(someUsers, "user"), Role: pick(someUsers, "role"), KeyOrigin: pick(someUsers, "origin"),
		Path:        PathKind(pick([]string{"", "local", "direct", "relay"}, "path")),
		ServiceType: pick([]string{"", "tcp", "udp"}, "type"),
	}
	var segments []string
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		segments = append(segments, pick(someSegments, "segment"))
	}
	r.Resource = pick([]string{"", "/", "/", "http://"}, "lead") + strings.Join(segments, "/")
	if s := pick(someSources, "source"); s != "" {
		r.Source = netip.MustParseAddr(s)
	}
	if rapid.Bool().Draw(t, "device") {
		r.Device = latchkey.DeviceID{Product: "a", Device: "b"}
	}
	return r
}

func TestEvaluateEqualsModel(t *testing.T) {
	effects := make(map[Effect]int)
	rapid.Check(t, func(t *rapid.T) {
		var policies []*Policy
		for range rapid.IntRange(0, 3).Draw(t, "policies") {
			var statements []Statement
			for range rapid.IntRange(0, 3).Draw(t, "statements") {
				statements = append(statements, drawStatement(t))
			}
			p, err := NewPolicy("p", statements...)
			if err != nil {
				t.Fatal(err)
			}
			policies = append(policies, p)
		}
		for range 40 {
			r := drawRequest(t)
			want := modelDecide(r, policies)
			if got := Evaluate(r, policies...).Effect; got != want {
				t.Fatalf("%+v\n got %s, the model says %s", r, got, want)
			}
			if got := decide(r, policies, nil).effect; got != want {
				t.Fatalf("%+v\n got %s without a trace, the model says %s", r, got, want)
			}
			effects[want]++
		}
	})
	if testing.Short() {
		return // a fifth of the checks may miss a kind
	}
	for _, e := range []Effect{NoMatch, Allow, Deny} {
		if effects[e] < 10 {
			t.Errorf("only %d decisions were %q: the generator is too narrow", effects[e], e)
		}
	}
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
