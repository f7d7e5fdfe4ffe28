package bearer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/latchkey-dev/latchkey"
)

const (
	maxPatterns = 1024
	maxSubject  = 256
	lastSecond  = 253402300799 // the end of the year 9999
)

// Claims are what a token that was accepted says.
type Claims struct {
	Issuer  string
	Subject string // "" if the token names none
	Expires time.Time
	Devices []Pattern // those of products that the issuer may speak for; never empty, but nil with Options.Login

	// With Options.Login only:
	ID     string         // jti; "" if there is none
	Scope  []string       // the words of scope, whatever they are; nil without the claim, and only then
	Values map[string]any // all claims: string, json.Number, bool, nil, []any and map[string]any; shared, not to be changed
}

// Allows reports whether the token opens the gate to a device.
func (c *Claims) Allows(id latchkey.DeviceID) bool {
	return id.Valid() && slices.ContainsFunc(c.Devices, func(p Pattern) bool {
		return p.Product == id.Product && (p.Device == "" || p.Device == id.Device)
	})
}

// A Pattern is PRODUCT/DEVICE, or PRODUCT/* with an empty Device.
type Pattern struct{ Product, Device string }

// String returns the pattern as a token spells it.
func (p Pattern) String() string {
	if p.Device == "" {
		return p.Product + "/*"
	}
	return p.Product + "/" + p.Device
}

func parsePattern(s string) (Pattern, bool) {
	product, all := strings.CutSuffix(s, "/*")
	if all {
		s = product + "/x"
	}
	id, err := latchkey.ParseDeviceID(s)
	if err != nil {
		return Pattern{}, false
	}
	if all {
		return Pattern{Product: id.Product}, true
	}
	return Pattern(id), true
}

// patterns reads a claim with devices: an array of patterns, or one string with
// spaces between them. One that is wrong spoils all.
func patterns(v any, products []string) ([]Pattern, error) {
	list, ok := texts(v)
	if s, single := v.(string); single {
		list = strings.Split(s, " ")
	}
	if !ok || len(list) > maxPatterns {
		return nil, ErrDevices
	}
	var out []Pattern
	for _, s := range list {
		p, ok := parsePattern(s)
		if !ok {
			return nil, fmt.Errorf("%w: one is neither PRODUCT/DEVICE nor PRODUCT/*", ErrDevices)
		}
		if len(products) == 0 || slices.Contains(products, p.Product) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, ErrDevices
	}
	return out, nil
}

// A claimSet is the payload of a token, as jwt's validator reads it.
type claimSet map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (c *claimSet) UnmarshalJSON(b []byte) (err error) {
	*c, err = parseObject(b)
	return err
}

// date reads a NumericDate: whole seconds, of a year up to 9999.
func (c claimSet) date(name string) (*jwt.NumericDate, error) {
	v, ok := c[name]
	if !ok {
		return nil, nil
	}
	number, _ := v.(json.Number)
	seconds, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || seconds < 0 || seconds > lastSecond {
		return nil, jwt.ErrInvalidType
	}
	return jwt.NewNumericDate(time.Unix(seconds, 0)), nil
}

func (c claimSet) text(name string) (string, error) {
	v, ok := c[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", jwt.ErrInvalidType
	}
	return s, nil
}

// GetExpirationTime implements jwt.Claims.
func (c claimSet) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }

// GetIssuedAt implements jwt.Claims.
func (c claimSet) GetIssuedAt() (*jwt.NumericDate, error) { return c.date("iat") }

// GetNotBefore implements jwt.Claims.
func (c claimSet) GetNotBefore() (*jwt.NumericDate, error) { return c.date("nbf") }

// GetIssuer implements jwt.Claims.
func (c claimSet) GetIssuer() (string, error) { return c.text("iss") }

// GetSubject implements jwt.Claims.
func (c claimSet) GetSubject() (string, error) { return c.text("sub") }

// GetAudience implements jwt.Claims.
func (c claimSet) GetAudience() (jwt.ClaimStrings, error) {
	v, ok := c["aud"]
	if !ok {
		return nil, nil
	}
	list, ok := texts(v)
	if !ok {
		return nil, jwt.ErrInvalidType
	}
	return list, nil
}
