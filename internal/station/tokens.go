package station

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// A Scope says what a token opens the gate to: a device or a whole product.
type Scope = registry.Scope

// A Token is one that the operator made. It says everything but the token.
type Token = registry.OperatorToken

// A NewToken is a connect token to be made.
type NewToken struct {
	Scope   Scope                `json:"scope"`
	Key     latchkey.Fingerprint `json:"key,omitzero"`      // the only client that may use it; zero: any
	Expires string               `json:"expires,omitempty"` // a duration from now; "": never
	Uses    int                  `json:"uses,omitempty"`    // 0: without limit
	Note    string               `json:"note,omitempty"`    // what it is for
}

// A MadeToken is a token that was just made. Secret is the token itself, which is
// kept nowhere and shown once.
type MadeToken struct {
	Token
	Secret string `json:"token"`
}

type tokenID struct {
	ID string `json:"id"`
}

// CreateToken makes a connect token.
func (c *Control) CreateToken(ctx context.Context, t NewToken) (MadeToken, error) {
	return admin.Call[MadeToken](ctx, c.backend, opTokenCreate, t)
}

// Tokens lists the operator's tokens, oldest first.
func (c *Control) Tokens(ctx context.Context) ([]Token, error) {
	return admin.Call[[]Token](ctx, c.backend, opTokenList, admin.None{})
}

// RevokeToken removes a token of the operator's. Introductions that it led to go
// on.
func (c *Control) RevokeToken(ctx context.Context, id string) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opTokenRevoke, tokenID{id})
	return err
}

func (a *administrator) createToken(_ context.Context, in NewToken) (MadeToken, error) {
	now := time.Now()
	t := Token{Scope: in.Scope, Key: in.Key, Uses: in.Uses, Note: in.Note, Added: now}
	if in.Expires != "" {
		life, err := time.ParseDuration(in.Expires)
		if err != nil || life <= 0 {
			return MadeToken{}, errors.New("a token's time is not a duration above zero")
		}
		t.Expires = now.Add(life)
	}
	t, raw, err := a.registry.CreateToken(t)
	if err != nil {
		return MadeToken{}, err
	}
	a.log.Info("token created", "token_id", t.ID, "scope", t.Scope.String())
	return MadeToken{t, raw.Reveal()}, nil
}

func (a *administrator) tokens(context.Context, admin.None) ([]Token, error) {
	return a.registry.Tokens(), nil
}

func (a *administrator) revokeToken(_ context.Context, in tokenID) (admin.None, error) {
	err := a.registry.RevokeToken(in.ID)
	if errors.Is(err, latchkey.ErrNotFound) {
		return admin.None{}, admin.Fail(err, program+" token list", "there is no token %q", in.ID)
	}
	if err == nil {
		a.log.Info("token revoked", "token_id", in.ID)
	}
	return admin.None{}, err
}
