package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
		t.Algorithms, t.Roles = slices.Clone(t.Algorithms), maps.Clone(t.Roles) // the caller may change its own
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
	issuer TokenIssuer // as it was configured when the token was judged
	over   time.Time   // when it was seen to have expired; zero: it was not
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

// vouches reports whether two configurations of an issuer take the same tokens.
func (t *TokenIssuer) vouches(o *TokenIssuer) bool {
	return t.Issuer == o.Issuer && t.Audience == o.Audience && t.JWKS == o.JWKS && t.AllowPrivate == o.AllowPrivate &&
		slices.Equal(t.Algorithms, o.Algorithms)
}

func (t *TokenIssuer) same(o *TokenIssuer) bool {
	return t.vouches(o) && t.RoleClaim == o.RoleClaim && maps.Equal(t.Roles, o.Roles)
}

// checkIssuer makes a token worth what its issuer's configuration says now.
func (p *peer) checkIssuer() {
	c := p.credential.Load()
	if c == nil || !c.over.IsZero() {
		return
	}
	issuer, known := p.srv.logins.Load().issuers[c.token.Issuer]
	if known && issuer.same(&c.issuer) {
		return
	}
	next, detail := c.under(p.srv, &issuer)
	if !p.credential.CompareAndSwap(c, next) {
		return // there is a newer token, and who brought it looks at its issuer
	}
	p.reviewAll()
	code := latchkey.CodeRevoked
	if next != nil {
		if code = 0; next.token.Role == c.token.Role {
			return
		}
	}
	p.event(acl.Event{Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeOK, Object: c.token.Subject, Detail: detail, Code: code})
}

// under is c by another configuration of its issuer, which is the zero one if there
// is none; nil if it is worth nothing. Whether the token would be taken at all is
// not known without it.
func (c *credential) under(s *server, issuer *TokenIssuer) (next *credential, detail string) {
	if !issuer.vouches(&c.issuer) {
		return nil, "its issuer counts no more, or not in this way"
	}
	role, err := s.roleOf(*issuer, c.claims)
	if err != nil {
		return nil, "its claims stand for no role any more"
	}
	next = &credential{token: c.token, claims: c.claims, issuer: *issuer}
	next.token.Role = role
	return next, "role " + role + " by a new configuration"
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
	issuer := l.issuers[claims.Issuer]
	role, err := p.srv.roleOf(issuer, claims.Values)
	if err != nil {
		return nil, err
	}
	c := &credential{claims: claims.Values, issuer: issuer, token: acl.Token{
		Issuer: claims.Issuer, Subject: claims.Subject, ID: claims.ID, Role: role, Scope: claims.Scope, Expires: claims.Expires,
	}}
	if p.srv.isVoid(&c.token) {
		return nil, fmt.Errorf("%w: the token was revoked here", latchkey.ErrRevoked)
	}
	return c, nil
}

// roleOf maps the claims to a role that there is.
func (s *server) roleOf(issuer TokenIssuer, claims map[string]any) (string, error) {
	values, ok := claims[issuer.RoleClaim].([]any)
	if !ok {
		values = []any{claims[issuer.RoleClaim]}
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
