package client

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A Device is one entry of the file of known devices. Everything but Key is a
// hint.
type Device struct {
	Alias          string                `json:"alias"` // [a-z0-9][a-z0-9._-]{0,62}
	ID             latchkey.DeviceID     `json:"id,omitzero"`
	Key            latchkey.Fingerprint  `json:"key"`             // the pinned key; never zero
	Addrs          []string              `json:"addrs,omitempty"` // HOST:PORT where it was last seen
	Basestations   []string              `json:"basestations,omitempty"`
	BasestationKey latchkey.Fingerprint  `json:"basestation_key,omitzero"`
	Token          latchkey.ConnectToken `json:"token,omitzero"` // redacted, but in the file itself
	User           string                `json:"user,omitempty"` // whom this client is on the device
	Name           string                `json:"name,omitempty"` // what the device calls itself
	Added          time.Time             `json:"added,omitzero"`
}

// Known is the file of known devices, devices.json: to a client what known_hosts
// is to ssh. Any number of Known, also in several processes, may work on one
// file: each change reads the file anew, under a lock, and replaces it whole.
// The file is 0600, because it holds connect tokens.
type Known struct {
	path string

	mu   sync.Mutex
	last []Device // as last read, sorted by alias
}

// OpenKnown reads the file at path, which need not exist yet. It refuses a
// damaged file, naming the line, and one that others can reach.
func OpenKnown(path string) (*Known, error) {
	k := &Known{path: path}
	if _, err := k.read(); err != nil {
		return nil, err
	}
	return k, nil
}

// read brings in what other processes wrote.
func (k *Known) read() ([]Device, error) {
	list, err := readKnown(k.path)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = list
	return list, nil
}

// Lookup returns the device of that alias. For an alias that is not there the
// error matches latchkey.ErrUnknownDevice and names those that are.
func (k *Known) Lookup(alias string) (Device, error) {
	list, err := k.read()
	if err != nil {
		return Device{}, err
	}
	i, ok := find(list, alias)
	if !ok {
		return Device{}, unknownAlias(list, alias)
	}
	return list[i].clone(), nil
}

// List returns the known devices, sorted by alias. If the file cannot be read
// any more, they are those that were read last.
func (k *Known) List() []Device {
	_, _ = k.read() // Lookup and every change report the error
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]Device, len(k.last))
	for i, d := range k.last {
		list[i] = d.clone()
	}
	return list
}

// Add adds a device, or replaces the entry of that alias if it has the same key.
// For an alias that stands for another key the error matches latchkey.ErrConflict
// and is a *latchkey.IdentityError with both keys; the file stays as it is.
func (k *Known) Add(d Device) error {
	return k.change(func(list []Device) ([]Device, error) {
		i, ok := find(list, d.Alias)
		switch {
		case !ok:
			return slices.Insert(list, i, d.clone()), nil
		case list[i].Key != d.Key:
			return nil, taken(d, list[i])
		}
		list[i] = d.clone()
		return list, nil
	})
}

// Update runs fn on the device of that alias and stores what it made of it. fn
// runs under the lock of the file. A change of alias or key is
// latchkey.ErrConflict: see Trust.
func (k *Known) Update(alias string, fn func(*Device)) error {
	return k.change(func(list []Device) ([]Device, error) {
		i, ok := find(list, alias)
		if !ok {
			return nil, unknownAlias(list, alias)
		}
		before := list[i]
		list[i] = before.clone()
		fn(&list[i])
		if list[i].Alias != before.Alias || list[i].Key != before.Key {
			return nil, fmt.Errorf("%w: an update keeps alias and key of %s", latchkey.ErrConflict, alias)
		}
		return list, nil
	})
}

// Trust makes key the pinned key of the device of that alias.
func (k *Known) Trust(alias string, key latchkey.Fingerprint) error {
	return k.change(func(list []Device) ([]Device, error) {
		i, ok := find(list, alias)
		if !ok {
			return nil, unknownAlias(list, alias)
		}
		list[i].Key = key
		return list, nil
	})
}

// Forget removes the device of that alias.
func (k *Known) Forget(alias string) error {
	return k.change(func(list []Device) ([]Device, error) {
		i, ok := find(list, alias)
		if !ok {
			return nil, unknownAlias(list, alias)
		}
		return slices.Delete(list, i, i+1), nil
	})
}

// taken refuses the alias of d, which stands for was.
func taken(d, was Device) error {
	return &takenError{latchkey.IdentityError{Device: d.Alias, Got: d.Key, Want: []latchkey.Fingerprint{was.Key}}}
}

type takenError struct{ keys latchkey.IdentityError }

func (e *takenError) Error() string {
	return fmt.Sprintf("alias %s belongs to another device, with key %s; this one has key %s", e.keys.Device, e.keys.Want[0], e.keys.Got)
}

func (e *takenError) Unwrap() []error { return []error{latchkey.ErrConflict, &e.keys} }

// find returns where alias is, or where it would be, in a sorted list.
func find(list []Device, alias string) (int, bool) {
	return slices.BinarySearchFunc(list, alias, func(d Device, alias string) int { return cmp.Compare(d.Alias, alias) })
}

func unknownAlias(list []Device, alias string) error {
	if len(list) == 0 {
		return fmt.Errorf("%w: %q; there is none yet, run: latchkey pair URL", latchkey.ErrUnknownDevice, alias)
	}
	const shown = 20
	names := make([]string, 0, shown+1)
	for _, d := range list[:min(len(list), shown)] {
		names = append(names, d.Alias)
	}
	if len(list) > shown {
		names = append(names, fmt.Sprintf("and %d more", len(list)-shown))
	}
	return fmt.Errorf("%w: %q; known are %s", latchkey.ErrUnknownDevice, alias, strings.Join(names, ", "))
}

// CheckAlias returns nil for [a-z0-9][a-z0-9._-]{0,62}.
func CheckAlias(alias string) error {
	for i, c := range []byte(alias) {
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || c != '.' && c != '_' && c != '-') {
			return errAlias
		}
	}
	if alias == "" || len(alias) > 63 {
		return errAlias
	}
	return nil
}

var errAlias = errors.New("client: an alias is 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit")

// label names the device to people: by its alias, or while it has none by its id.
func (d Device) label() string {
	if d.Alias != "" {
		return d.Alias
	}
	return d.ID.String()
}

func (d Device) clone() Device {
	d.Addrs = slices.Clone(d.Addrs)
	d.Basestations = slices.Clone(d.Basestations)
	return d
}
