package acl

import (
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

func TestBounds(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	later, before := now.Add(time.Second), now.Add(-time.Second)
	token := func(expires time.Time, scope ...string) *Token {
		return &Token{Role: RoleUser, Expires: expires, Scope: scope}
	}
	for name, c := range map[string]struct {
		r    Request
		want latchkey.Code
	}{
		"nothing set":                   {Request{Time: now}, 0},
		"nothing set, clock unknown":    {Request{}, 0},
		"in time":                       {Request{Time: now, Expires: later}, 0},
		"at the end":                    {Request{Time: now, Expires: now}, latchkey.CodeForbidden},
		"late":                          {Request{Time: now, Expires: before}, latchkey.CodeForbidden},
		"an end, clock unknown":         {Request{Expires: later}, latchkey.CodeForbidden},
		"token":                         {Request{Time: now, Token: token(later)}, 0},
		"token without an end":          {Request{Time: now, Token: token(time.Time{})}, latchkey.CodeForbidden},
		"token at its end":              {Request{Time: now, Token: token(now)}, latchkey.CodeTokenExpired},
		"token, clock unknown":          {Request{Token: token(later)}, latchkey.CodeForbidden},
		"old token, login":              {Request{Time: now, Token: token(before), Action: TokenLogin}, 0},
		"in scope":                      {Request{Time: now, Token: token(later, "coap:*", "x"), Action: CoAPGet}, 0},
		"out of scope":                  {Request{Time: now, Token: token(later, "coap:get"), Action: CoAPPut}, latchkey.CodeForbidden},
		"a scope of another spelling":   {Request{Time: now, Token: token(later, "COAP:GET", "coap:get*"), Action: CoAPGet}, latchkey.CodeForbidden},
		"a scope that grants nothing":   {Request{Time: now, Token: &Token{Expires: later, Scope: []string{}}, Action: CoAPGet}, latchkey.CodeForbidden},
		"the user's end beside a token": {Request{Time: now, Expires: before, Token: token(later)}, latchkey.CodeForbidden},
	} {
		if got := latchkey.CodeOf(Bounds(&c.r)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
