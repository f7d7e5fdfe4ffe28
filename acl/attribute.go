package acl

import (
	"net/netip"
	"strings"
	"time"
)

// An attribute is a fact of a request that policies may ask for, in conditions
// by its name and in patterns as ${name}.
type attribute struct {
	kind  attributeKind
	claim string // the claim's name, if kind is tokenClaim
}

type attributeKind uint8

const (
	literal attributeKind = iota // no attribute: plain text
	connectionUser
	connectionRole
	connectionPath
	connectionSource
	keyFingerprint
	keyOrigin
	keyAge
	deviceID
	deviceProduct
	deviceUnit
	serviceType
	clockTime
	tokenClaim
)

// claimPrefix begins the names of attributes that are claims of a token.
const claimPrefix = "claim."

// attributes are the names that policies use, beside those of claims. A name
// that is not here is an error when the policy is loaded.
var attributes = []struct {
	name string
	kind attributeKind
}{
	{"connection.user", connectionUser},
	{"connection.role", connectionRole},
	{"connection.path", connectionPath},
	{"connection.source", connectionSource},
	{"key.fingerprint", keyFingerprint},
	{"key.origin", keyOrigin},
	{"key.age", keyAge},
	{"device.id", deviceID},
	{"device.product", deviceProduct},
	{"device.unit", deviceUnit},
	{"service.type", serviceType},
	{"time", clockTime},
}

func attributeNamed(name string) (attribute, error) {
	for _, a := range attributes {
		if a.name == name {
			return attribute{kind: a.kind}, nil
		}
	}
	if claim, ok := strings.CutPrefix(name, claimPrefix); ok {
		return attribute{tokenClaim, claim}, checkClaim(claim)
	}
	return attribute{}, mistake("unknown attribute %q", name)
}

// String returns the name that policies use.
func (a attribute) String() string {
	for _, named := range attributes {
		if named.kind == a.kind {
			return named.name
		}
	}
	return claimPrefix + a.claim
}

// isText reports whether the attribute's value is text, which equals compares
// and a variable can stand for.
func (k attributeKind) isText() bool {
	return k != connectionSource && k != keyAge && k != clockTime
}

// checkClaim refuses names of claims that no attribute can have: 1 to 64 letters,
// digits and _ - . : / are possible.
func checkClaim(name string) error {
	if len(name) == 0 || len(name) > 64 {
		return mistake("claim name %q: 1 to 64 characters are possible", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_-.:/", rune(c)) {
			return mistake("claim name %q: only letters, digits and _ - . : / are possible", name)
		}
	}
	return nil
}

// text returns the value of a textual attribute, false when it is absent. An
// empty value is an absent one, and so is a claim that is not a single text.
func (r *Request) text(a attribute) (string, bool) {
	var s string
	switch a.kind {
	case connectionUser:
		s = r.User
	case connectionRole:
		s = r.Role
	case connectionPath:
		s = string(r.Path)
	case keyFingerprint:
		s = r.Peer.String()
	case keyOrigin:
		s = r.KeyOrigin
	case deviceID:
		if r.Device.Valid() {
			s = r.Device.String()
		}
	case deviceProduct:
		s = r.Device.Product
	case deviceUnit:
		s = r.Device.Device
	case serviceType:
		s = r.ServiceType
	case tokenClaim:
		s, _ = r.Claims[a.claim].(string)
	default:
	}
	return s, s != ""
}

// texts are the values of a textual attribute: one, or any number of a claim.
type texts struct {
	one  string
	many []any // the texts of a list, instead of one
	list bool
}

// texts returns the values of a textual attribute, false when it is absent. A
// claim that is a list is there if all in it is text, none of it empty; an empty
// list is there too.
func (r *Request) texts(a attribute) (texts, bool) {
	if a.kind == tokenClaim {
		if list, ok := r.Claims[a.claim].([]any); ok {
			for _, v := range list {
				if s, _ := v.(string); s == "" {
					return texts{}, false
				}
			}
			return texts{many: list, list: true}, true
		}
	}
	s, ok := r.text(a)
	return texts{one: s}, ok
}

// source returns the peer's address as prefixes compare it, false when it is
// absent.
func (r *Request) source() (netip.Addr, bool) {
	a := r.Source.Unmap().WithZone("")
	return a, a.IsValid()
}

// age returns how long ago the peer's key was added, false when that or the time
// is not known. A key from the future says that the clock is wrong.
func (r *Request) age() (time.Duration, bool) {
	if r.Time.IsZero() || r.KeyAdded.IsZero() || r.KeyAdded.After(r.Time) {
		return 0, false
	}
	return r.Time.Sub(r.KeyAdded), true
}
