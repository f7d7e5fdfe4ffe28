package acl

import (
	"net/netip"
	"strings"
)

// An attribute is a fact of a request that policies may ask for, in conditions
// by its name and in patterns as ${name}.
type attribute uint8

const (
	literal attribute = iota // no attribute: plain text
	connectionUser
	connectionRole
	connectionPath
	connectionSource
	keyFingerprint
	keyOrigin
	deviceID
	deviceProduct
	deviceUnit
	serviceType
)

// attributes are the names that policies use. A name that is not here is an
// error when the policy is loaded.
var attributes = []struct {
	name string
	attr attribute
}{
	{"connection.user", connectionUser},
	{"connection.role", connectionRole},
	{"connection.path", connectionPath},
	{"connection.source", connectionSource},
	{"key.fingerprint", keyFingerprint},
	{"key.origin", keyOrigin},
	{"device.id", deviceID},
	{"device.product", deviceProduct},
	{"device.unit", deviceUnit},
	{"service.type", serviceType},
}

func attributeNamed(name string) (attribute, error) {
	for _, a := range attributes {
		if a.name == name {
			return a.attr, nil
		}
	}
	return literal, mistake("unknown attribute %q", name)
}

// checkClaim refuses names of claims that no attribute can have: 1 to 64 letters,
// digits and _ - . : /.
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
// empty value is an absent one.
func (r *Request) text(a attribute) (string, bool) {
	var s string
	switch a {
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
	}
	return s, s != ""
}

// source returns the peer's address as prefixes compare it, false when it is
// absent.
func (r *Request) source() (netip.Addr, bool) {
	a := r.Source.Unmap().WithZone("")
	return a, a.IsValid()
}
