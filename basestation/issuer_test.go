package basestation

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// TestGateBinding: a JWT that is bound to a key opens the gate to that key alone;
// one that is not opens it only where the issuer was configured so.
func TestGateBinding(t *testing.T) {
	s := newSigner(t)
	b := newBase(t, func(b *Server) { b.Issuers, b.bearer.Loopback = []Issuer{s.issuer()}, true })
	ready(t, b)
	owner, thief := b.connectUDP(newIdentity(t)), b.connectUDP(newIdentity(t))
	bound := s.token(t, owner.key, nil)
	free := s.token(t, owner.key, func(c jwt.MapClaims) { delete(c, "cnf") })
	show := func(p *peer, token string) coap.Code {
		o := p.offer(signal.RoleClient, newSession(), gateway)
		return p.do(coap.POST, signal.PathConnect, &signal.Connect{ID: gateway, JWT: token, Offer: o}).Code
	}
	for _, tt := range []struct {
		name  string
		peer  *peer
		token string
		want  coap.Code
	}{
		{"bound, by its key", owner, bound, coap.Created},
		{"bound, stolen", thief, bound, coap.Forbidden},
		{"not bound", thief, free, coap.Forbidden},
	} {
		if got := show(tt.peer, tt.token); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	no, loose := false, s.issuer()
	loose.RequireBinding = &no
	if err := b.SetIssuers([]Issuer{loose}); err != nil {
		t.Fatal(err)
	}
	if got := show(thief, free); got != coap.Created {
		t.Errorf("not bound, where that is allowed: %v", got)
	}
	if got := show(thief, bound); got != coap.Forbidden {
		t.Errorf("bound, stolen, where binding is not required: %v", got)
	}
}

// TestGateClock: with a clock that is off by a year, ours or the issuer's, JWTs
// are refused for that reason, and connect tokens are as good as ever.
func TestGateClock(t *testing.T) {
	s := newSigner(t)
	b := newBase(t, func(b *Server) { b.Issuers, b.bearer.Loopback = []Issuer{s.issuer()}, true })
	_, client, good := ready(t, b)
	const year = 365 * 24 * time.Hour
	for name, off := range map[string]time.Duration{"expired": -year, "not valid yet": year} {
		token := s.token(t, client.key, func(c jwt.MapClaims) {
			now := time.Now().Add(off)
			c["iat"], c["nbf"], c["exp"] = now.Unix(), now.Unix(), now.Add(time.Hour).Unix()
		})
		o := client.offer(signal.RoleClient, newSession(), gateway)
		wants(t, client.do(coap.POST, signal.PathConnect, &signal.Connect{ID: gateway, JWT: token, Offer: o}), coap.Forbidden, latchkey.CodeForbidden, nil)
		list := b.kind(EventGateRefused)
		if reason := list[len(list)-1].Reason; !strings.Contains(reason, "expired or not yet valid") {
			t.Errorf("%s: reason %q", name, reason)
		}
	}
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, good)), coap.Created, 0, &signal.Connected{})
}
