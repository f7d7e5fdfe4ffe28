package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// A TokenIssuer is somebody whose tokens let their bearers in: JSON Web Tokens
// (RFC 7519), signed, for this device alone, and bound by the claim cnf to the
// key that the client proves (RFC 7800). A token counts for keys that belong to
// no user, until it expires.
type TokenIssuer struct {
	Issuer     string            // the claim iss, byte by byte. Required.
	Audience   string            // the only element of the claim aud; "": PRODUCT/DEVICE
	JWKS       string            // https URL of the issuer's key set. Required.
	Algorithms []string          // of "ES256", "EdDSA", "RS256" and "PS256"; nil: the first two
	RoleClaim  string            // the claim that says what the bearer may be: a text or a list of texts; "": "role"
	Roles      map[string]string // from its values to roles of this device. Of a list the first counts that is here. Required.

	AllowPrivate bool // the key set may be at an address of RFC 1918 or RFC 4193
}

// logins is who may issue tokens, in one immutable version.
type logins struct {
	validator *bearer.Validator
	issuers   map[string]TokenIssuer
}

// open reports whether a stranger may try to log in.
func (l *logins) open() bool { return len(l.issuers) > 0 }

func (s *server) newLogins(list []TokenIssuer) (*logins, error) {
	l := &logins{issuers: make(map[string]TokenIssuer)}
	issuers := make([]bearer.Issuer, 0, len(list))
	for _, t := range list {
		if t.Audience == "" {
			t.Audience = s.id.String()
		}
		if t.RoleClaim == "" {
			t.RoleClaim = "role"
		}
		if len(t.Roles) == 0 {
			return nil, fmt.Errorf("device: issuer %q: Roles is empty, so its tokens are good for nothing", t.Issuer)
		}
		for value, role := range t.Roles {
			if role == "" || role == acl.RoleUnpaired {
				return nil, fmt.Errorf("device: issuer %q: %q cannot stand for role %q", t.Issuer, value, role)
			}
		}
		l.issuers[t.Issuer] = t
		issuers = append(issuers, bearer.Issuer{
			Issuer: t.Issuer, Audience: t.Audience, JWKS: t.JWKS, Algorithms: t.Algorithms, AllowPrivate: t.AllowPrivate,
		})
	}
	options := s.dev.bearer
	options.Login, options.Log = true, s.log
	if before := s.logins.Load(); before != nil {
		options.Before = before.validator
	}
	var err error
	l.validator, err = bearer.New(issuers, options)
	return l, err
}

func (s *server) setTokens(list []TokenIssuer) error {
	l, err := s.newLogins(list)
	if err != nil {
		return err
	}
	s.logins.Store(l)
	return nil
}

// A credential is a token that was accepted, and what else it says.
type credential struct {
	token  acl.Token
	claims map[string]any
	over   time.Time // when it was seen to have expired; zero: it was not
}

// ended is c once it has expired. It stays so if the clock goes back.
func (c *credential) ended(now time.Time) *credential {
	token := c.token
	token.Expires = time.Unix(0, 0)
	return &credential{token: token, over: now}
}

// holds reports whether the token is valid at the time now; while that is not
// known, which is zero, it is not.
func (c *credential) holds(now time.Time) bool {
	return !now.IsZero() && now.Before(c.token.Expires)
}

// checkIssuer ends the rights of a token whose issuer counts no more.
func (p *peer) checkIssuer() {
	c := p.credential.Load()
	if c == nil || !c.over.IsZero() {
		return
	}
	if _, known := p.srv.logins.Load().issuers[c.token.Issuer]; !known && p.credential.CompareAndSwap(c, nil) {
		p.reviewAll()
		p.event(acl.Event{Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeOK, Object: c.token.Subject, Detail: "its issuer counts no more", Code: latchkey.CodeRevoked})
	}
}

// login takes a token in exchange for rights. A token that is refused leaves the
// one before in force.
func (p *peer) login(ctx context.Context, r *coap.Request) *coap.Response {
	p.court(time.Now())
	defer p.courting.Store(nil)
	c, err := p.validate(ctx, string(r.Body))
	if err != nil {
		p.event(acl.Event{Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeRefused, Code: latchkey.CodeOf(err), Detail: reasonOf(err)})
		p.log.Warn("token refused", "op", acl.TokenLogin, "code", latchkey.CodeOf(err), "err", err)
		return p.refused(r, err)
	}
	p.credential.Store(c)
	p.event(acl.Event{
		Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeOK, Object: c.token.Subject,
		Detail: fmt.Sprintf("role %s until %s, by %s", c.token.Role, c.token.Expires.UTC().Format(time.RFC3339), c.token.Issuer),
	})
	p.log.Info("token accepted", "op", acl.TokenLogin, "issuer", c.token.Issuer, "subject", c.token.Subject, "role", c.token.Role, "expires", c.token.Expires)
	p.checkIssuer() // the issuers may have changed meanwhile
	p.checkVoided()
	p.reviewAll() // it may entitle to less than the one before
	return reply(coap.Changed, struct {
		Role    string    `json:"role"`
		Expires time.Time `json:"expires"`
		Subject string    `json:"subject"`
	}{c.token.Role, c.token.Expires.UTC(), c.token.Subject})
}

// reasonOf is for the owner's eyes. Errors of bearer never hold a part of a
// token.
func reasonOf(err error) string {
	if errors.Is(err, latchkey.ErrForbidden) || errors.Is(err, latchkey.ErrTokenExpired) || errors.Is(err, latchkey.ErrRevoked) {
		return err.Error()
	}
	return ""
}

func (p *peer) validate(ctx context.Context, token string) (*credential, error) {
	l := p.srv.logins.Load()
	if !l.open() {
		return nil, fmt.Errorf("%w: the device takes no tokens", latchkey.ErrNotFound)
	}
	now := p.srv.clock.now()
	if now.IsZero() {
		return nil, fmt.Errorf("%w: the clock is not known, so no token can be judged", latchkey.ErrForbidden)
	}
	proven := p.sess.Peer()
	claims, err := l.validator.Validate(ctx, token, bearer.Client{Key: proven.Public, Certificate: proven.Certificate}, now)
	if err != nil {
		return nil, err
	}
	role, err := p.srv.roleOf(l.issuers[claims.Issuer], claims)
	if err != nil {
		return nil, err
	}
	c := &credential{claims: claims.Values, token: acl.Token{
		Issuer: claims.Issuer, Subject: claims.Subject, ID: claims.ID, Role: role, Scope: claims.Scope, Expires: claims.Expires,
	}}
	if p.srv.isVoid(&c.token) {
		return nil, fmt.Errorf("%w: the token was revoked here", latchkey.ErrRevoked)
	}
	return c, nil
}

// roleOf maps the claims to a role that there is.
func (s *server) roleOf(issuer TokenIssuer, claims *bearer.Claims) (string, error) {
	values, ok := claims.Values[issuer.RoleClaim].([]any)
	if !ok {
		values = []any{claims.Values[issuer.RoleClaim]}
	}
	for _, v := range values {
		text, ok := v.(string)
		role, known := issuer.Roles[text]
		if !ok || !known {
			continue
		}
		if s.access == nil {
			return role, nil
		}
		err := s.access.View(func(tx *acl.Tx) error {
			if _, ok := tx.Role(role); !ok {
				return fmt.Errorf("%w: there is no role %q for the token", latchkey.ErrForbidden, role)
			}
			return nil
		})
		return role, err
	}
	return "", fmt.Errorf("%w: the token's claim %q stands for no role here", latchkey.ErrForbidden, issuer.RoleClaim)
}
