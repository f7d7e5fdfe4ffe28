package latchkey

import (
	"errors"
	"strings"
)

// A DeviceID is a device's address at a basestation, PRODUCT/DEVICE. Each part
// is 1 to 63 of a-z, 0-9 and "-", and does not begin with "-".
type DeviceID struct{ Product, Device string }

// errDeviceID says what a good id looks like.
var errDeviceID = errors.New("latchkey: a device id is PRODUCT/DEVICE, each 1 to 63 of a-z, 0-9 and - and not beginning with -")

// ParseDeviceID reads PRODUCT/DEVICE.
func ParseDeviceID(s string) (DeviceID, error) {
	product, device, ok := strings.Cut(s, "/")
	id := DeviceID{product, device}
	if !ok || !id.Valid() {
		return DeviceID{}, errDeviceID
	}
	return id, nil
}

// DefaultDeviceID is the id of a device that was given none: local/ and the
// first 20 digits of its fingerprint.
func DefaultDeviceID(f Fingerprint) DeviceID {
	return DeviceID{Product: "local", Device: f.String()[:20]}
}

// Valid reports whether both parts keep the rules.
func (id DeviceID) Valid() bool { return validLabel(id.Product) && validLabel(id.Device) }

func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// String returns PRODUCT/DEVICE, or "" for the zero DeviceID.
func (id DeviceID) String() string {
	if id == (DeviceID{}) {
		return ""
	}
	return id.Product + "/" + id.Device
}

// MarshalText implements encoding.TextMarshaler.
func (id DeviceID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with ParseDeviceID's rules.
func (id *DeviceID) UnmarshalText(b []byte) error {
	parsed, err := ParseDeviceID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}
