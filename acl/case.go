package acl

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A Case is a test in a document: a request, and what must become of it.
type Case struct {
	Name   string
	Expect Expectation
	// Who asks: somebody with just these policies, with a role, or a user of
	// the store. One of the three is set.
	Policies   []string
	Role, User string
	Request    Request // its User and Role are those of the case, where that has them

	offset int // where it stands
}

// An Expectation is what a Case demands of a decision.
type Expectation string

// The expectations.
const (
	ExpectAllow  Expectation = "allow"  // the request passes
	ExpectRefuse Expectation = "refuse" // it does not, denied or not allowed
	ExpectDeny   Expectation = "deny"   // a statement denies it
)

// met reports whether e is what the expectation demands.
func (x Expectation) met(e Effect) bool {
	switch x {
	case ExpectAllow:
		return e == Allow
	case ExpectDeny:
		return e == Deny
	default:
		return e != Allow
	}
}

func parseExpectation(s string) error {
	switch Expectation(s) {
	case ExpectAllow, ExpectRefuse, ExpectDeny:
		return nil
	}
	return mistake(`unknown expectation %q: "allow", "refuse" or "deny"`, s)
}

// nobody reports whether the case does not say who asks.
func (c *Case) nobody() bool { return c.Policies == nil && c.Role == "" && c.User == "" }

// parseCase reads a test.
func (d *Document) parseCase() error {
	r := d.source
	c := Case{offset: r.start()}
	var f requestFields
	err := r.object(map[string]func() error{
		"name?": func() (err error) {
			c.Name, err = r.text(checkText)
			return err
		},
		"expect": func() error {
			s, err := r.text(parseExpectation)
			c.Expect = Expectation(s)
			return err
		},
		"policies?": func() (err error) {
			c.Policies, _, err = r.texts("policies", func(s string) error { return checkName("policy", s) })
			return err
		},
		"role?": func() (err error) {
			c.Role, err = r.text(func(s string) error { return checkName("role", s) })
			return err
		},
		"user?": func() (err error) {
			c.User, err = r.text(CheckUserName)
			return err
		},
		"request": func() error {
			f.start = r.start()
			return r.request(&f)
		},
	})
	if err != nil {
		return err
	}
	if n := min(len(c.Policies), 1) + min(len(c.Role), 1) + min(len(c.User), 1); n > 1 {
		return r.at(c.offset, mistake("a test is about policies, a role or a user, not about several of them"))
	}
	if c.User != "" && (f.User != "" || f.Role != "") || c.Role != "" && f.Role != "" {
		return r.at(f.start, mistake("the test already says who asks"))
	}
	if c.Request, err = f.request(); err != nil {
		return r.at(f.start, err)
	}
	if c.Role != "" {
		c.Request.Role = c.Role
	}
	if c.User != "" {
		c.Request.User = c.User
	}
	d.Cases = append(d.Cases, c)
	return nil
}

// requestFields is the request of a test as it stands in the text.
type requestFields struct {
	Request
	start int
	age   time.Duration
	aged  bool // age is set
}

// request puts the facts together.
func (f *requestFields) request() (Request, error) {
	if f.aged {
		if f.Time.IsZero() {
			return Request{}, mistake("key_age needs a time to count back from")
		}
		f.KeyAdded = f.Time.Add(-f.age)
	}
	return f.Request, nil
}

// fact is a field that may be missing, checked by parse.
func (r *reader) fact(parse func(string) error) func() error {
	return func() error {
		_, err := r.text(parse)
		return err
	}
}

// request reads the request of a test.
func (r *reader) request(f *requestFields) error {
	keep := func(to *string, check func(string) error) func() error {
		return r.fact(func(s string) error {
			*to = s
			return check(s)
		})
	}
	return r.object(map[string]func() error{
		"action": r.fact(func(s string) error {
			f.Action = Action(s)
			return f.Action.check()
		}),
		"resource": keep(&f.Resource, checkResource),
		"user?":    keep(&f.User, checkText),
		"role?":    keep(&f.Role, checkText),
		"path?": r.fact(func(s string) error {
			f.Path = PathKind(s)
			return checkValue(connectionPath, s)
		}),
		"source?": r.fact(func(s string) (err error) {
			if f.Source, err = netip.ParseAddr(s); err != nil {
				err = mistake("%q is not an IP address", s)
			}
			return err
		}),
		"time?": r.fact(func(s string) (err error) {
			if f.Time, err = time.Parse(time.RFC3339, s); err != nil || f.Time.IsZero() {
				err = mistake("%q is not a time such as 2026-11-22T18:00:00Z", s)
			}
			return err
		}),
		"key_age?": r.fact(func(s string) (err error) {
			f.age, err = parseAge(s)
			f.aged = true
			return err
		}),
		"key_origin?":   keep(&f.KeyOrigin, checkText),
		"service_type?": keep(&f.ServiceType, func(s string) error { return checkValue(serviceType, s) }),
		"key?": r.fact(func(s string) (err error) {
			if f.Peer, err = latchkey.ParseFingerprint(s); err != nil {
				err = mistake("%q is not a key's fingerprint", s)
			}
			return err
		}),
		"device?": r.fact(func(s string) (err error) {
			if f.Device, err = latchkey.ParseDeviceID(s); err != nil {
				err = mistake("%q is not a device id", s)
			}
			return err
		}),
		"claims?": func() error { return r.claims(&f.Claims) },
	})
}

// checkResource takes what a peer could ask for, hostile or not.
func checkResource(s string) error {
	if len(s) > MaxResource {
		return mistake("a resource of %d bytes; %d is the most", len(s), MaxResource)
	}
	return nil
}

// claims reads the claims of a token: texts, and lists of texts.
func (r *reader) claims(to *map[string]any) error {
	*to = make(map[string]any)
	return r.members(MaxList, func(name string, at int) error {
		if err := checkClaim(name); err != nil {
			return r.at(at, err)
		}
		if !r.isList() {
			s, err := r.text(checkAny)
			(*to)[name] = s
			return err
		}
		list := []any{}
		err := r.array(MaxList, func() error {
			s, err := r.text(checkAny)
			list = append(list, s)
			return err
		})
		(*to)[name] = list
		return err
	})
}

// checkAny takes whatever a token may say.
func checkAny(string) error { return nil }

// MarshalJSON writes what ParseDocument reads as a test.
func (c Case) MarshalJSON() ([]byte, error) {
	q := c.Request
	type request struct {
		Action      Action         `json:"action"`
		Resource    string         `json:"resource"`
		User        string         `json:"user,omitempty"`
		Role        string         `json:"role,omitempty"`
		Path        PathKind       `json:"path,omitempty"`
		Source      netip.Addr     `json:"source,omitzero"`
		Time        time.Time      `json:"time,omitzero"`
		KeyAge      string         `json:"key_age,omitempty"`
		KeyOrigin   string         `json:"key_origin,omitempty"`
		ServiceType string         `json:"service_type,omitempty"`
		Key         string         `json:"key,omitempty"`
		Device      string         `json:"device,omitempty"`
		Claims      map[string]any `json:"claims,omitempty"`
	}
	out := struct {
		Name     string      `json:"name,omitempty"`
		Expect   Expectation `json:"expect"`
		Policies []string    `json:"policies,omitempty"`
		Role     string      `json:"role,omitempty"`
		User     string      `json:"user,omitempty"`
		Request  request     `json:"request"`
	}{c.Name, c.Expect, c.Policies, c.Role, c.User, request{
		Action: q.Action, Resource: q.Resource, Path: q.Path, Source: q.Source, Time: q.Time,
		KeyOrigin: q.KeyOrigin, ServiceType: q.ServiceType, Claims: q.Claims,
	}}
	if c.User == "" {
		out.Request.User = q.User
		if c.Role == "" {
			out.Request.Role = q.Role
		}
	}
	if !q.Time.IsZero() && !q.KeyAdded.IsZero() {
		out.Request.KeyAge = formatAge(q.Time.Sub(q.KeyAdded))
	}
	if !q.Peer.IsZero() {
		out.Request.Key = q.Peer.String()
	}
	if q.Device.Valid() {
		out.Request.Device = q.Device.String()
	}
	return json.Marshal(out)
}
