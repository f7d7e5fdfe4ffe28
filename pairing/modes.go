package pairing

import (
	"fmt"
	"strings"
)

// Modes is a set of pairing modes. The zero Modes is empty: nobody can pair.
type Modes uint8

const (
	// LocalInitial lets the first peer on the device's own network become the
	// owner. It closes itself with that.
	LocalInitial Modes = 1 << iota
	// LocalOpen lets every peer on the device's own network join as a guest.
	LocalOpen
	// PasswordOpen lets everybody who knows the device's password join as a
	// guest, also from afar. Ten failures in all close it.
	PasswordOpen
	// Invite lets everybody who holds an invitation become the user that it is
	// for, also from afar. Each invitation works once.
	Invite
)

const (
	localModes    = LocalInitial | LocalOpen
	passwordModes = PasswordOpen | Invite
)

// modes has a row for each mode, with its name in configuration, on the wire and
// in policies.
var modes = []struct {
	bit  Modes
	name string
}{
	{LocalInitial, "local-initial"},
	{LocalOpen, "local-open"},
	{PasswordOpen, "password-open"},
	{Invite, "invite"},
}

// ParseMode reads the name of one mode, such as "local-initial".
func ParseMode(name string) (Modes, error) {
	for _, m := range modes {
		if m.name == name {
			return m.bit, nil
		}
	}
	return 0, fmt.Errorf("pairing: unknown mode %q; there is %s", name, allModes())
}

// ParseModes reads a list of names. No names make the empty set.
func ParseModes(names ...string) (Modes, error) {
	var set Modes
	for _, name := range names {
		m, err := ParseMode(name)
		if err != nil {
			return 0, err
		}
		set |= m
	}
	return set, nil
}

func allModes() Modes {
	var all Modes
	for _, m := range modes {
		all |= m.bit
	}
	return all
}

// Has reports whether all modes of other are in m.
func (m Modes) Has(other Modes) bool { return m&other == other }

// Names returns the names of the modes, never nil.
func (m Modes) Names() []string {
	names := []string{}
	for _, known := range modes {
		if m.Has(known.bit) {
			names = append(names, known.name)
		}
	}
	return names
}

// String returns the names with commas between, or "none".
func (m Modes) String() string {
	if m == 0 {
		return "none"
	}
	return strings.Join(m.Names(), ",")
}

// MarshalText returns the names with commas between, nothing for the empty set.
func (m Modes) MarshalText() ([]byte, error) { return []byte(strings.Join(m.Names(), ",")), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Modes) UnmarshalText(b []byte) error {
	var names []string
	if len(b) > 0 {
		names = strings.Split(string(b), ",")
	}
	set, err := ParseModes(names...)
	if err != nil {
		return err
	}
	*m = set
	return nil
}
