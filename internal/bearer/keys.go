package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	maxKeys   = 50
	retry     = time.Minute // between two fetches, whatever the reason
	minRSA    = 2048
	maxRSA    = 8192
	maxWaiter = 64 // of callers who wait for one fetch; more are refused
)

// A keySet holds one issuer's keys.
type keySet struct {
	issuer          string
	fetcher         *fetcher
	refresh, maxAge time.Duration
	log             *slog.Logger

	mu       sync.Mutex
	keys     map[header]any // by algorithm and id: a public key
	fetched  time.Time      // when keys came; zero: never
	tried    time.Time      // when the last fetch began; zero: never
	fetching chan struct{}  // closed at the end of the fetch under way; nil: none is
	waiting  int
}

func newKeySet(is Issuer, location *url.URL, o Options) *keySet {
	return &keySet{
		issuer:  is.Issuer,
		fetcher: newFetcher(location, is.AllowPrivate, o),
		refresh: is.Refresh,
		maxAge:  is.MaxAge,
		log:     o.Log,
	}
}

// find returns the public key that a token names. Where it has to be fetched,
// find waits; a key that is there is never waited for, except by the one caller
// whose turn it is to fetch.
func (s *keySet) find(ctx context.Context, head header, now time.Time) (any, error) {
	s.mu.Lock()
	key, ok := s.look(head, now)
	age := now.Sub(s.fetched)
	fresh := ok && age >= 0 && age < s.refresh
	due := s.tried.IsZero() || now.Sub(s.tried) >= retry || now.Before(s.tried)
	switch {
	case fresh, ok && (!due || s.fetching != nil):
		s.mu.Unlock()
		return key, nil
	case s.fetching != nil:
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	case due:
		s.fetch(ctx, now)
	}
	defer s.mu.Unlock()
	if key, ok = s.look(head, now); ok {
		return key, nil
	}
	if s.usable(now) {
		return nil, ErrNoKey
	}
	return nil, ErrNoKeys
}

// usable reports whether the keys are young enough to serve.
func (s *keySet) usable(now time.Time) bool {
	return !s.fetched.IsZero() && now.Sub(s.fetched).Abs() < s.maxAge // a clock may be put back
}

func (s *keySet) look(head header, now time.Time) (any, bool) {
	key, ok := s.keys[head]
	return key, ok && s.usable(now)
}

// wait waits for the fetch under way. It is called with mu held and returns with
// mu held, unless it fails.
func (s *keySet) wait(ctx context.Context) error {
	done := s.fetching
	if s.waiting >= maxWaiter {
		s.mu.Unlock()
		return ErrNoKeys
	}
	s.waiting++
	s.mu.Unlock()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ErrNoKeys
	}
	s.mu.Lock()
	s.waiting--
	if err != nil {
		s.mu.Unlock()
	}
	return err
}

// fetch replaces the keys, or leaves them as they are. It is called with mu held,
// lets go of it meanwhile and returns with it held. Others wait for its outcome,
// so it goes on when ctx ends.
func (s *keySet) fetch(ctx context.Context, now time.Time) {
	done := make(chan struct{})
	s.fetching, s.tried = done, now
	s.mu.Unlock()
	keys, err := s.load(context.WithoutCancel(ctx))
	s.mu.Lock()
	s.fetching = nil
	close(done)
	if err != nil {
		s.log.Warn("key set not fetched", "op", "jwks", "issuer", s.issuer, "err", err)
		return
	}
	s.keys, s.fetched = keys, now
}

func (s *keySet) load(ctx context.Context) (map[header]any, error) {
	body, err := s.fetcher.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return parseKeys(body)
}

// parseKeys reads a JWK set (RFC 7517 section 5). Keys that cannot be used here
// are passed over, a set without any that can is an error.
func parseKeys(body []byte) (map[header]any, error) {
	set, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("the key set cannot be read: %w", err)
	}
	list, _ := set["keys"].([]any)
	if len(list) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, %d are the most", len(list), maxKeys)
	}
	keys := make(map[header]any)
	for _, v := range list {
		jwk, _ := v.(map[string]any)
		kid, _ := jwk["kid"].(string)
		key, algs := parseKey(jwk)
		if !validKeyID(kid) || key == nil {
			continue
		}
		for _, alg := range algs {
			if want, ok := jwk["alg"]; ok && want != alg {
				continue
			}
			if _, twice := keys[header{alg, kid}]; !twice {
				keys[header{alg, kid}] = key
			}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key that can be used")
	}
	return keys, nil
}

// secretMembers are members of private and symmetric keys. Whoever publishes one
// of those has lost it.
var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parseKey returns a public key and the algorithms that it is for; nil if it is
// not one that signatures can be checked with.
func parseKey(jwk map[string]any) (key any, algs []string) {
	for _, name := range secretMembers {
		if _, ok := jwk[name]; ok {
			return nil, nil
		}
	}
	if use, ok := jwk["use"]; ok && use != "sig" {
		return nil, nil
	}
	if ops, ok := jwk["key_ops"]; ok {
		if list, _ := ops.([]any); !slices.Contains(list, any("verify")) {
			return nil, nil
		}
	}
	switch jwk["kty"] {
	case "EC":
		if k := parseEC(jwk); k != nil {
			return k, []string{"ES256"}
		}
	case "OKP":
		if x := number(jwk, "x"); jwk["crv"] == "Ed25519" && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x), []string{"EdDSA"}
		}
	case "RSA":
		if k := parseRSA(jwk); k != nil {
			return k, []string{"RS256", "PS256"}
		}
	}
	return nil, nil
}

func parseEC(jwk map[string]any) *ecdsa.PublicKey {
	x, y := number(jwk, "x"), number(jwk, "y")
	if jwk["crv"] != "P-256" || len(x) != 32 || len(y) != 32 {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil
	}
	return key
}

func parseRSA(jwk map[string]any) *rsa.PublicKey {
	n, e := new(big.Int).SetBytes(number(jwk, "n")), number(jwk, "e")
	if bits := n.BitLen(); bits < minRSA || bits > maxRSA || n.Bit(0) == 0 || len(e) == 0 || len(e) > 4 {
		return nil
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent < 3 || exponent%2 == 0 || exponent > 1<<31-1 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(exponent)}
}

// number returns the bytes of a member in base64url, nil if it is none.
func number(jwk map[string]any, name string) []byte {
	s, _ := jwk[name].(string)
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
