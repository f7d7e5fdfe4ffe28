package registry

import (
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
)

// Limits. They bound the file, a change, and what one device can make the
// basestation keep.
const (
	MaxDevices        = 200_000
	MaxKeys           = 8         // of one device
	MaxTokens         = 4096      // of one device
	MaxTokensTotal    = 1_000_000 // of all devices
	MaxOperatorTokens = 10_000
	MaxNote           = 128 // bytes
	maxWord           = 32
)

// The usual values of a Key's fields. Others are kept as they are.
const (
	Operational = "operational" // Key.Purpose: it attaches and serves
	Manual      = "manual"      // Key.Origin: an operator typed it
	Active      = "active"      // Key.State: it may attach
)

// A Device is a row of the registry.
type Device struct {
	ID    latchkey.DeviceID `json:"id"`
	Keys  []Key             `json:"keys"`
	Added time.Time         `json:"added"`
	Seen  time.Time         `json:"seen,omitzero"` // attached last; zero: never
}

// A Key lets its holder attach as a device.
type Key struct {
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Purpose     string               `json:"purpose"`
	Origin      string               `json:"origin"`
	State       string               `json:"state"`
	Added       time.Time            `json:"added"`
}

// A Token is one that a device uploaded.
type Token struct {
	Hash    [32]byte             // of a latchkey.ConnectToken
	Key     latchkey.Fingerprint // the only client that may use it; zero: any
	Expires time.Time            // from then on it opens nothing; zero: never
	Uses    int                  // how often it may be used; 0: without limit
}

// A Scope says what an operator's token opens.
type Scope struct {
	Product string `json:"product"`
	Device  string `json:"device,omitempty"` // "": every device of the product
}

// ParseScope reads PRODUCT/DEVICE or PRODUCT/*.
func ParseScope(s string) (Scope, error) {
	if n := len(s) - len("/*"); n > 0 && s[n:] == "/*" {
		sc := Scope{Product: s[:n]}
		if sc.valid() {
			return sc, nil
		}
	}
	id, err := latchkey.ParseDeviceID(s)
	if err != nil {
		return Scope{}, fmt.Errorf("registry: a scope is PRODUCT/DEVICE or PRODUCT/*: %w", err)
	}
	return Scope{id.Product, id.Device}, nil
}

// String returns what ParseScope reads.
func (s Scope) String() string {
	if s.Device == "" {
		return s.Product + "/*"
	}
	return s.Product + "/" + s.Device
}

func (s Scope) valid() bool {
	device := s.Device
	if device == "" {
		device = "x"
	}
	return latchkey.DeviceID{Product: s.Product, Device: device}.Valid()
}

func (s Scope) covers(id latchkey.DeviceID) bool {
	return s.Product == id.Product && (s.Device == "" || s.Device == id.Device)
}

// An OperatorToken is one that the operator made.
type OperatorToken struct {
	ID      string               `json:"id"` // names it in lists; no secret
	Scope   Scope                `json:"scope"`
	Key     latchkey.Fingerprint `json:"key,omitzero"`     // the only client that may use it; zero: any
	Expires time.Time            `json:"expires,omitzero"` // zero: never
	Uses    int                  `json:"uses,omitempty"`   // how often it may be used; 0: without limit
	Used    int                  `json:"used,omitempty"`   // how often it was; counted only if Uses is not 0
	Note    string               `json:"note,omitempty"`   // what it is for; at most MaxNote bytes
	Added   time.Time            `json:"added"`
}

func (d *Device) clone() Device {
	c := *d
	c.Keys = slices.Clone(d.Keys)
	return c
}

func (k Key) clean() (Key, error) {
	if k.Fingerprint.IsZero() {
		return k, fmt.Errorf("registry: a key needs a fingerprint")
	}
	for _, word := range []*string{&k.Purpose, &k.Origin, &k.State} {
		if len(*word) > maxWord || !plainText(*word) {
			return k, fmt.Errorf("registry: %q is no purpose, origin or state of a key", *word)
		}
	}
	k.Purpose, k.Origin, k.State = or(k.Purpose, Operational), or(k.Origin, Manual), or(k.State, Active)
	k.Added = plainTime(k.Added)
	return k, checkTimes(k.Added)
}

func or(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

func (t *OperatorToken) check() error {
	switch {
	case t.ID == "" || len(t.ID) > maxWord || !plainText(t.ID):
		return fmt.Errorf("registry: %q is no name of a token", t.ID)
	case !t.Scope.valid():
		return fmt.Errorf("registry: %q is no scope of a token", t.Scope)
	case t.Uses < 0 || t.Used < 0:
		return fmt.Errorf("registry: a token cannot be used %d times", t.Uses)
	case len(t.Note) > MaxNote || !plainText(t.Note):
		return fmt.Errorf("registry: a note is at most %d bytes of printable text", MaxNote)
	}
	return checkTimes(t.Expires, t.Added)
}

func plainText(s string) bool {
	return utf8.ValidString(s) && !slices.ContainsFunc([]rune(s), func(r rune) bool { return !unicode.IsPrint(r) })
}

// checkTimes demands years that RFC 3339, the form in the file, can write.
func checkTimes(times ...time.Time) error {
	for _, t := range times {
		if y := t.UTC().Year(); y < 1 || y > 9999 {
			return fmt.Errorf("registry: a time in the year %d", y)
		}
	}
	return nil
}

// plainTime is t as it comes back from the file.
func plainTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}
