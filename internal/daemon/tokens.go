package daemon

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// Tokens are those that hold: connect tokens of pairing URLs, and those by which
// sessions have logged in.
type Tokens struct {
	Connect  []device.BootstrapToken `json:"connect"`
	Sessions []device.TokenSession   `json:"sessions"`
}

// A Revocation names a token that is to be refused from now on.
type Revocation struct {
	ID string `json:"id"` // of a connect token, or the claim jti
	// Issuer and Until are needed for a token that no session has shown.
	Issuer string    `json:"issuer,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Revoked says what was revoked.
type Revoked struct {
	Connect bool      `json:"connect"` // a connect token
	ID      string    `json:"id"`
	Issuer  string    `json:"issuer,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Until   time.Time `json:"until,omitzero"` // when it would have expired
}

// Tokens lists the tokens that hold.
func (c *Control) Tokens(ctx context.Context) (Tokens, error) {
	return admin.Call[Tokens](ctx, c.backend, opTokenList, admin.None{})
}

// NewToken makes a connect token for a pairing URL.
func (c *Control) NewToken(ctx context.Context) (latchkey.ConnectToken, error) {
	out, err := admin.Call[named](ctx, c.backend, opTokenCreate, admin.None{})
	if err != nil {
		return latchkey.ConnectToken{}, err
	}
	return latchkey.ParseConnectToken(out.Name)
}

// RevokeToken revokes a token.
func (c *Control) RevokeToken(ctx context.Context, r Revocation) (Revoked, error) {
	return admin.Call[Revoked](ctx, c.backend, opTokenRevoke, r)
}

func (a *administrator) tokens(context.Context, admin.None) (out Tokens, err error) {
	if out.Connect, err = device.BootstrapTokens(a.access); err != nil {
		return out, err
	}
	if a.running {
		out.Sessions, err = a.dev.TokenSessions()
	}
	out.Connect, out.Sessions = nonNil(out.Connect), nonNil(out.Sessions)
	return out, err
}

func (a *administrator) createToken(context.Context, admin.None) (named, error) {
	token, err := a.connectToken()
	return named{token.Reveal()}, err
}

// connectToken makes a token for a pairing URL, which lets its holder through the
// basestation's gate.
func (a *administrator) connectToken() (token latchkey.ConnectToken, err error) {
	if err := a.audited(); err != nil {
		return token, err
	}
	token, err = device.AddBootstrapToken(a.access)
	e := acl.Event{Kind: acl.EventToken, Detail: "connect token made"}
	if err == nil {
		sum := token.Hash().Sum()
		e.Object = hex.EncodeToString(sum[:4])
	}
	a.done(e, err)
	return token, a.advise(err, help{})
}

func (a *administrator) revokeToken(_ context.Context, in Revocation) (out Revoked, err error) {
	if err := a.audited(); err != nil {
		return out, err
	}
	list, err := device.BootstrapTokens(a.access)
	if err != nil {
		return out, err
	}
	if in.Issuer == "" && slices.ContainsFunc(list, func(t device.BootstrapToken) bool { return t.ID == in.ID }) {
		err := device.RemoveBootstrapToken(a.access, in.ID)
		a.done(acl.Event{Kind: acl.EventToken, Object: in.ID, Detail: "connect token revoked"}, err)
		return Revoked{Connect: true, ID: in.ID}, a.advise(err, help{missing: "latchkeyd token list"})
	}
	if out, err = a.findToken(in); err != nil {
		return out, err
	}
	if a.running {
		err = a.dev.RevokeToken(out.Issuer, out.ID, out.Until)
	} else {
		err = device.RevokeToken(a.access, out.Issuer, out.ID, out.Until)
	}
	a.done(acl.Event{
		Kind: acl.EventToken, Object: out.Subject,
		Detail: fmt.Sprintf("token %s revoked until %s, of %s", out.ID, out.Until.UTC().Format(time.RFC3339), out.Issuer),
	}, err)
	return out, a.advise(err, help{})
}

// findToken finds out which token is meant.
func (a *administrator) findToken(in Revocation) (Revoked, error) {
	const next = "latchkeyd token list; for a token that no session has, give --issuer and --until"
	if in.ID == "" {
		return Revoked{}, admin.Fail(latchkey.ErrProtocol, next, "a token without an id cannot be revoked")
	}
	if in.Issuer != "" && !in.Until.IsZero() {
		if !time.Now().Before(in.Until) {
			return Revoked{}, admin.Fail(latchkey.ErrProtocol, "", "that time has passed, and the token with it")
		}
		return Revoked{ID: in.ID, Issuer: in.Issuer, Until: in.Until}, nil
	}
	var sessions []device.TokenSession
	if a.running {
		var err error
		if sessions, err = a.dev.TokenSessions(); err != nil {
			return Revoked{}, err
		}
	}
	var found []device.TokenSession
	for _, s := range sessions {
		twin := slices.ContainsFunc(found, func(f device.TokenSession) bool { return f.Issuer == s.Issuer })
		if s.ID == in.ID && (in.Issuer == "" || s.Issuer == in.Issuer) && !twin {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return Revoked{}, admin.Fail(latchkey.ErrNotFound, next, "there is no token %q, and no session with it", in.ID)
	case 1:
		s := found[0]
		return Revoked{ID: s.ID, Issuer: s.Issuer, Subject: s.Subject, Until: s.Expires}, nil
	}
	return Revoked{}, admin.Fail(latchkey.ErrConflict, "repeat the command with --issuer", "%d issuers have given a token %q", len(found), in.ID)
}
