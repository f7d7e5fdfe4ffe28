package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits of what a device keeps of a token for as long as a session lasts.
const (
	maxClaims      = 128 // names of claims
	maxClaimDepth  = 4   // lists and objects in one another
	maxClaimValues = 512 // in all claims, names included
	maxClaimBytes  = MaxToken / 2
	maxTokenID     = 256
)

// checkLogin refuses settings that mean nothing where a session logs in, so that
// nobody believes to have set them.
func (is *Issuer) checkLogin() error {
	switch {
	case is.RequireBinding != nil && !*is.RequireBinding:
		return errors.New("a token that logs in is always bound to a key; that cannot be switched off")
	case is.DevicesClaim != "" || len(is.Products) > 0:
		return errors.New("a token that logs in is for one device, its audience; there are no devices or products to name")
	}
	return nil
}

// acceptLogin reads the claims of a token that logs in, which is genuine and
// valid.
func (is *issuer) acceptLogin(claims claimSet, out *Claims) (err error) {
	// The list is not enough: a token for us and somebody else could be shown to
	// us by that somebody.
	if list, err := claims.GetAudience(); err != nil || len(list) != 1 || list[0] != is.Audience {
		return ErrAudience
	}
	if out.ID, err = claims.text("jti"); err != nil || len(out.ID) > maxTokenID {
		return ErrMalformed
	}
	if out.Scope, err = scope(claims); err != nil {
		return err
	}
	if err := checkValues(claims); err != nil {
		return err
	}
	out.Values = claims
	return nil
}

// scope reads the claim of RFC 8693 section 4.2: words with spaces between them,
// or a list of words. It is nil without the claim, and not nil with it: a token
// with an empty scope is good for nothing. What words mean is not known here.
func scope(claims claimSet) ([]string, error) {
	v, ok := claims["scope"]
	if !ok {
		return nil, nil
	}
	list, ok := texts(v)
	if !ok {
		return nil, fmt.Errorf("%w: its scope is neither a text nor a list of texts", ErrMalformed)
	}
	if s, single := v.(string); single {
		list = strings.Split(s, " ")
	}
	words := make([]string, 0, len(list))
	for _, word := range list {
		if word != "" {
			words = append(words, word)
		}
	}
	return words, nil
}

// checkValues refuses claims that would take much memory. They are not cut:
// rules that ask for what is missing would then decide on half a token.
func checkValues(claims claimSet) error {
	var c counter
	if c.add(map[string]any(claims), 0); len(claims) > maxClaims || c.values > maxClaimValues || c.bytes > maxClaimBytes || c.depth > maxClaimDepth {
		return ErrClaims
	}
	return nil
}

// A counter measures JSON. What it walks was bounded by parseObject before.
type counter struct{ values, bytes, depth int }

func (c *counter) add(v any, depth int) {
	c.values++
	switch v := v.(type) {
	case string:
		c.bytes += len(v)
	case json.Number:
		c.bytes += len(v)
	case []any:
		c.depth = max(c.depth, depth)
		for _, value := range v {
			c.add(value, depth+1)
		}
	case map[string]any:
		c.depth = max(c.depth, depth)
		for name, value := range v {
			c.values, c.bytes = c.values+1, c.bytes+len(name)
			c.add(value, depth+1)
		}
	}
}
