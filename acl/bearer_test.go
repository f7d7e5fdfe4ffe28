package acl

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A key of nobody that brings a token is judged by the token's role, within its
// scope and until it expires.
func TestAuthorizeToken(t *testing.T) {
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newStore(t)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "greta", RoleGuest, 2)
	update(t, s, func(tx *Tx) error {
		p, err := NewPolicy("lamp",
			Statement{Effect: Allow, Actions: []string{"coap:*", "tunnel:open"}, Resources: []string{"/light/**", "/home/${connection.user}"}},
			Statement{Effect: Deny, Actions: []string{"*"}, Resources: []string{"/light/9"}},
			Statement{
				Effect: Allow, Actions: []string{"*"}, Resources: []string{"/claim"},
				Conditions: []Condition{{Attribute: "claim.team", Operator: "equals", Values: []string{"blue"}}},
			})
		return errors.Join(err, tx.PutPolicy(p), tx.PutRole(Role{Name: "lamp", Policies: []string{"lamp"}}))
	})
	token := Token{Issuer: "https://issuer", Subject: "somebody", Role: "lamp", Expires: end}
	with := func(change func(*Token)) *Token { c := token; change(&c); return &c }
	for _, c := range []struct {
		name  string
		token *Token
		r     Request // Peer is key 9, Action coap:put, Resource /light/1 and Time just before the end, unless said otherwise
		want  error
	}{
		{"good", &token, Request{}, nil},
		{"no token", nil, Request{}, latchkey.ErrUnpaired},
		{"outside the role", &token, Request{Resource: "/door"}, latchkey.ErrForbidden},
		{"denied", &token, Request{Resource: "/light/9"}, latchkey.ErrForbidden},
		{"a variable that it does not have", &token, Request{Resource: "/home/somebody"}, latchkey.ErrForbidden},
		{"a name that it claims", &token, Request{User: "anna", Resource: "/home/anna"}, latchkey.ErrForbidden},
		{"a role that it claims", &token, Request{Role: RoleAdmin, Resource: "/door"}, latchkey.ErrForbidden},
		{"a role that strangers have", &token, Request{Role: RoleUnpaired}, nil},
		{"at the end", &token, Request{Time: end}, latchkey.ErrTokenExpired},
		{"long after the end", &token, Request{Time: end.AddDate(9, 0, 0)}, latchkey.ErrTokenExpired},
		{"clock unknown", &token, Request{Time: time.Unix(0, 0)}, latchkey.ErrForbidden}, // stands for zero
		{"without an end", with(func(c *Token) { c.Expires = time.Time{} }), Request{}, latchkey.ErrForbidden},
		{"without a role", with(func(c *Token) { c.Role = "" }), Request{}, latchkey.ErrForbidden},
		{"of an unknown role", with(func(c *Token) { c.Role = "king" }), Request{}, latchkey.ErrForbidden},
		{"of strangers", with(func(c *Token) { c.Role = RoleUnpaired }), Request{Action: PairInvite}, latchkey.ErrForbidden},
		{"in scope", with(func(c *Token) { c.Scope = []string{"coap:put"} }), Request{}, nil},
		{"in a wide scope", with(func(c *Token) { c.Scope = []string{"tunnel:open", "coap:*"} }), Request{}, nil},
		{"in the widest scope", with(func(c *Token) { c.Scope = []string{"*"} }), Request{}, nil},
		{"the widest scope is not the role", with(func(c *Token) { c.Scope = []string{"*"} }), Request{Action: UserList}, latchkey.ErrForbidden},
		{"out of scope", with(func(c *Token) { c.Scope = []string{"coap:get", "tunnel:*"} }), Request{}, latchkey.ErrForbidden},
		{"an empty scope", with(func(c *Token) { c.Scope = []string{} }), Request{}, latchkey.ErrForbidden},
		{"a scope that means nothing", with(func(c *Token) { c.Scope = []string{"coap:p*", "coap", "", "COAP:PUT", "coap:put ", "fly:*", "**"} }), Request{}, latchkey.ErrForbidden},
		{"another login", &token, Request{Action: TokenLogin, Resource: "/token"}, nil},
		{"another login after the end", &token, Request{Action: TokenLogin, Resource: "/token", Time: end}, nil},
		{"another login out of scope", with(func(c *Token) { c.Scope = []string{} }), Request{Action: TokenLogin, Resource: "/token"}, nil},
		{"a claim", &token, Request{Resource: "/claim", Claims: map[string]any{"team": "blue"}}, nil},
		{"another claim", &token, Request{Resource: "/claim", Claims: map[string]any{"team": "red"}}, latchkey.ErrForbidden},
		{"a user's key", &token, Request{Peer: fingerprint(2)}, latchkey.ErrForbidden},
		{"a user's key, expired", with(func(c *Token) { c.Expires = end.AddDate(-9, 0, 0) }), Request{Peer: fingerprint(1)}, nil},
		{"a user's key, out of scope", with(func(c *Token) { c.Scope = []string{} }), Request{Peer: fingerprint(1)}, nil},
	} {
		r := Request{Peer: fingerprint(9), Action: CoAPPut, Resource: "/light/1", Time: end.Add(-1)}
		r.User, r.Role, r.Claims, r.Token = c.r.User, c.r.Role, c.r.Claims, c.token
		if c.r.Action != "" {
			r.Action = c.r.Action
		}
		if c.r.Resource != "" {
			r.Resource = c.r.Resource
		}
		if !c.r.Peer.IsZero() {
			r.Peer = c.r.Peer
		}
		if !c.r.Time.IsZero() {
			r.Time = c.r.Time
		}
		if c.r.Time.Equal(time.Unix(0, 0)) {
			r.Time = time.Time{}
		}
		err := s.Authorize(t.Context(), &r)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		d := s.Explain(&r)
		if (d.Effect == Allow) != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), d.Reason) {
			t.Errorf("%s: Authorize says %v, Explain %+v", c.name, err, d)
		}
	}
}

// How to refuse comes from the statement that denied.
func TestAuthorizeMode(t *testing.T) {
	s := newStore(t)
	fp := pair(t, s, "bob", RoleUser, 1)
	update(t, s, func(tx *Tx) error {
		p, err := NewPolicy("trap", Statement{Effect: Deny, Actions: []string{"coap:put"}, Resources: []string{"/a"}, Mode: Silent},
			Statement{Effect: Deny, Actions: []string{"tunnel:open"}, Resources: []string{"**"}, Mode: Disconnect})
		return errors.Join(err, tx.PutPolicy(p), tx.PutRole(Role{Name: RoleUser, Policies: []string{RoleUser, "trap"}}))
	})
	for _, c := range []struct {
		r    Request
		want Mode
	}{
		{Request{Peer: fp, Action: CoAPPut, Resource: "/a"}, Silent},
		{Request{Peer: fp, Action: TunnelOpen, Resource: "ssh"}, Disconnect},
		{Request{Peer: fp, Action: UserList, Resource: "/users"}, Respond},
		{Request{Peer: fingerprint(9), Action: CoAPPut, Resource: "/a"}, Respond},
	} {
		err := s.Authorize(t.Context(), &c.r)
		if err == nil || ModeOf(err) != c.want {
			t.Errorf("%s: %v, %v; want %v", c.r.Action, err, ModeOf(err), c.want)
		}
	}
}
