package bearer

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Limits of a token.
const (
	MaxToken = 8 << 10          // bytes
	Leeway   = 60 * time.Second // by which clocks may differ
	maxKeyID = 128
)

// The algorithms (RFC 7518 section 3.1, RFC 8037) that a configuration can name.
// RSA keys have 2048 to 8192 bits.
var algorithms = []string{"ES256", "EdDSA", "RS256", "PS256"}

// types are the values of the header typ that a token may have, besides none; by
// Options.Login. What says that it is for the gate does not log in, and the other
// way round (RFC 8725 section 3.11).
var types = map[bool][]string{
	false: {"jwt", "at+jwt", "application/at+jwt", "connect+jwt", "application/connect+jwt"},
	true:  {"jwt", "at+jwt", "application/at+jwt", "login+jwt", "application/login+jwt"},
}

// strangers are header members that would tell how to check the very token that
// they are in (RFC 8725 section 3.10), or change what its bytes mean.
var strangers = []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "p2c", "p2s"}

// An Issuer is somebody whose tokens are accepted.
type Issuer struct {
	Issuer         string        // the claim iss, byte by byte. Required.
	Audience       string        // what aud must be or contain. Required.
	JWKS           string        // https URL of the key set. Required.
	Algorithms     []string      // of "ES256", "EdDSA", "RS256" and "PS256"; empty: the first two
	DevicesClaim   string        // the claim that holds PRODUCT/DEVICE and PRODUCT/*; "": "devices"; not with Options.Login
	Products       []string      // that the issuer may speak for; empty: all; not with Options.Login
	RequireBinding *bool         // refuse tokens without cnf; nil: true; never false with Options.Login
	AllowPrivate   bool          // the key set may be at an address of RFC 1918 or RFC 4193
	Refresh        time.Duration // age at which keys are fetched anew; 0: 15 minutes
	MaxAge         time.Duration // age up to which they serve while that fails; 0: 24 hours
}

// Options are what all issuers share. The zero Options is right at the gate.
type Options struct {
	Login    bool                                                         // tokens log in at one device, which is their only audience; else they open the gate
	Roots    *x509.CertPool                                               // who may vouch for key servers; nil: the system's
	Resolve  func(ctx context.Context, host string) ([]netip.Addr, error) // nil: the system's resolver
	Loopback bool                                                         // key sets may be at loopback addresses, and by http there; for tests
	Before   *Validator                                                   // whose keys go on serving for issuers that are the same; nil: none
	Log      *slog.Logger                                                 // nil: slog.Default
}

// A Validator accepts and refuses tokens. It may be used by many goroutines at
// once. It starts no goroutines: keys are fetched by those who need them.
type Validator struct {
	login   bool
	issuers map[string]*issuer
}

type issuer struct {
	Issuer
	keys *keySet
}

// New checks the configuration. It fetches nothing. No issuers means that every
// token is refused.
func New(issuers []Issuer, o Options) (*Validator, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	v := &Validator{login: o.Login, issuers: make(map[string]*issuer)}
	for _, is := range issuers {
		location, err := is.check(o.Loopback)
		if err == nil && o.Login {
			err = is.checkLogin()
		}
		if err != nil {
			return nil, fmt.Errorf("bearer: issuer %q: %w", is.Issuer, err)
		}
		if v.issuers[is.Issuer] != nil {
			return nil, fmt.Errorf("bearer: issuer %q stands there twice", is.Issuer)
		}
		if len(is.Algorithms) == 0 {
			is.Algorithms = algorithms[:2]
		}
		if is.DevicesClaim == "" {
			is.DevicesClaim = "devices"
		}
		if is.Refresh == 0 {
			is.Refresh = 15 * time.Minute
		}
		if is.MaxAge == 0 {
			is.MaxAge = 24 * time.Hour
		}
		keys := o.Before.keysFor(is)
		if keys == nil {
			keys = newKeySet(is, location, o)
		}
		v.issuers[is.Issuer] = &issuer{is, keys}
	}
	return v, nil
}

// keysFor returns the key set that v has for an issuer whose keys are configured
// like those of is; nil if there is none.
func (v *Validator) keysFor(is Issuer) *keySet {
	if v == nil || v.issuers[is.Issuer] == nil {
		return nil
	}
	before := v.issuers[is.Issuer]
	if before.JWKS != is.JWKS || before.AllowPrivate != is.AllowPrivate || before.Refresh != is.Refresh ||
		before.MaxAge != is.MaxAge || !slices.Equal(before.Algorithms, is.Algorithms) {
		return nil
	}
	return before.keys
}

func (is *Issuer) check(loopback bool) (*url.URL, error) {
	location, err := url.Parse(is.JWKS)
	switch {
	case is.Issuer == "" || is.Audience == "":
		return nil, errors.New("it needs an issuer and an audience")
	case err != nil:
		return nil, errors.New("the key set's URL cannot be read")
	case location.Scheme != "https" && !(loopback && location.Scheme == "http"):
		return nil, errors.New("the key set's URL must begin with https://")
	case location.Hostname() == "" || location.User != nil || location.Fragment != "":
		return nil, errors.New("the key set's URL must be https://HOST/PATH, without user and fragment")
	case is.Refresh < 0 || is.MaxAge < 0:
		return nil, errors.New("an age cannot be negative")
	}
	for _, alg := range is.Algorithms {
		if !slices.Contains(algorithms, alg) {
			return nil, fmt.Errorf("algorithm %q is none of %s", alg, strings.Join(algorithms, ", "))
		}
	}
	return location, nil
}

// Validate accepts a token, shown by client at the time now, or says why not. It
// may fetch keys, for at most 3 seconds. Every error matches
// latchkey.ErrForbidden, and none holds the token or a part of it.
func (v *Validator) Validate(ctx context.Context, token string, client Client, now time.Time) (*Claims, error) {
	is, claims, err := v.verify(ctx, token, now)
	if err != nil {
		return nil, err
	}
	if err := checkBinding(claims, client, v.login || is.RequireBinding == nil || *is.RequireBinding); err != nil {
		return nil, err
	}
	out, err := is.accept(claims)
	switch {
	case err != nil:
		return nil, err
	case !v.login:
		out.Devices, err = patterns(claims[is.DevicesClaim], is.Products)
	case !now.Before(out.Expires): // the leeway is not for rights that are over
		err = ErrExpired
	default:
		err = is.acceptLogin(claims, out)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// verify reads a token and finds out that its issuer signed it, for our audience
// and for now.
func (v *Validator) verify(ctx context.Context, token string, now time.Time) (*issuer, claimSet, error) {
	head, claims, err := parse(token, types[v.login])
	if err != nil {
		return nil, nil, err
	}
	name, _ := claims["iss"].(string)
	is := v.issuers[name]
	if is == nil {
		return nil, nil, ErrIssuer
	}
	if !slices.Contains(is.Algorithms, head.alg) {
		return nil, nil, ErrAlgorithm
	}
	key, err := is.keys.find(ctx, head, now)
	if err != nil {
		return nil, nil, err
	}
	p := jwt.NewParser(
		jwt.WithValidMethods([]string{head.alg}),
		jwt.WithStrictDecoding(),
		jwt.WithJSONNumber(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithIssuer(is.Issuer.Issuer),
		jwt.WithAudience(is.Audience),
		jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(func() time.Time { return now }),
	)
	if _, err := p.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return nil, nil, v.reason(err)
	}
	return is, claims, nil
}

// accept reads the claims that count everywhere, of a token that is genuine and
// valid.
func (is *issuer) accept(claims claimSet) (*Claims, error) {
	subject, err := claims.GetSubject()
	if err != nil || len(subject) > maxSubject {
		return nil, ErrMalformed
	}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return nil, ErrTime
	}
	return &Claims{Issuer: is.Issuer.Issuer, Subject: subject, Expires: exp.Time}, nil
}

// reason translates the errors of jwt, whose texts may repeat what is in a token.
func (v *Validator) reason(err error) error {
	switch {
	case v.login && errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return ErrSignature
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return ErrTime
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return ErrAudience
	}
	return ErrMalformed
}

// A header is what counts in a token's header.
type header struct{ alg, kid string }

// parse takes a token apart, without believing any of it.
func parse(token string, types []string) (head header, claims claimSet, err error) {
	if len(token) > MaxToken || strings.Count(token, ".") != 2 {
		return head, nil, ErrMalformed
	}
	parts := strings.Split(token, ".")
	var decoded [3][]byte
	for i, part := range parts {
		// The decoder skips line breaks, so they are looked for.
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(b) == 0 || strings.ContainsAny(part, "\r\n") {
			return head, nil, ErrMalformed
		}
		decoded[i] = b
	}
	members, err := parseObject(decoded[0])
	if err != nil {
		return head, nil, ErrMalformed
	}
	if claims, err = parseObject(decoded[1]); err != nil {
		return head, nil, ErrMalformed
	}
	for _, name := range strangers {
		if _, ok := members[name]; ok {
			return head, nil, ErrMalformed
		}
	}
	if typ, ok := members["typ"]; ok {
		text, _ := typ.(string)
		if !slices.Contains(types, strings.ToLower(text)) {
			return head, nil, ErrMalformed
		}
	}
	head.alg, _ = members["alg"].(string)
	head.kid, _ = members["kid"].(string)
	if head.alg == "" || !validKeyID(head.kid) {
		return head, nil, ErrMalformed
	}
	return head, claims, nil
}

// validKeyID demands printable ASCII without spaces. A key id is looked up in a
// map, and nothing else is ever done with it.
func validKeyID(s string) bool {
	return s != "" && len(s) <= maxKeyID && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
