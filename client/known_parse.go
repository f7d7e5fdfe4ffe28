package client

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
)

const (
	knownVersion  = 1
	maxKnownAddrs = 32
	maxKnownText  = 256 // bytes of any text in an entry
)

// parseKnown returns the devices sorted by alias, or an error and the offset in
// text where it was noticed.
func parseKnown(text []byte) (list []Device, offset int64, err error) {
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			offset = syntax.Offset
		}
		return nil, offset, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	var version int
	err = object(d, map[string]func() error{
		"version": func() error {
			if err := d.Decode(&version); err != nil {
				return err
			}
			if version != knownVersion {
				return fmt.Errorf("version %d of the file is not one that this program reads", version)
			}
			return nil
		},
		"devices": func() error {
			return array(d, func() error {
				dev, err := parseDevice(d)
				if err != nil {
					return err
				}
				list = append(list, dev)
				return nil
			})
		},
	})
	if err == nil && version == 0 {
		err = errors.New(`"version" is missing`)
	}
	if err == nil {
		slices.SortFunc(list, func(a, b Device) int { return cmp.Compare(a.Alias, b.Alias) })
		for i := 1; i < len(list); i++ {
			if list[i].Alias == list[i-1].Alias {
				err = fmt.Errorf("alias %q stands there twice", list[i].Alias)
			}
		}
	}
	if err == nil {
		return list, 0, nil
	}
	return nil, d.InputOffset(), err
}

func parseDevice(d *json.Decoder) (Device, error) {
	var dev Device
	into := func(v any) func() error { return func() error { return d.Decode(v) } }
	err := object(d, map[string]func() error{
		"alias":           into(&dev.Alias),
		"id":              into(&dev.ID),
		"key":             into(&dev.Key),
		"addrs":           into(&dev.Addrs),
		"basestations":    into(&dev.Basestations),
		"basestation_key": into(&dev.BasestationKey),
		"user":            into(&dev.User),
		"name":            into(&dev.Name),
		"added":           into(&dev.Added),
		"token": func() (err error) {
			var text string
			if err = d.Decode(&text); err == nil {
				dev.Token, err = latchkey.ParseConnectToken(text)
			}
			return err
		},
	})
	if err == nil {
		err = dev.check()
	}
	return dev, err
}

// object reads a JSON object whose fields are known, spelled exactly and not
// repeated.
func object(d *json.Decoder, fields map[string]func() error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return cmp.Or(err, errors.New("a JSON object must stand here"))
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		read, ok := fields[name]
		if !ok || seen[name] {
			return fmt.Errorf("field %.80q is unknown or repeated", name)
		}
		seen[name] = true
		if err := read(); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	_, err := d.Token()
	return err
}

func array(d *json.Decoder, read func() error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return cmp.Or(err, errors.New("a JSON array must stand here"))
	}
	for d.More() {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// check holds for every entry that is read or written.
func (d Device) check() error {
	if err := CheckAlias(d.Alias); err != nil {
		return err
	}
	if d.Key.IsZero() {
		return fmt.Errorf("client: device %s has no key", d.Alias)
	}
	if d.ID != (latchkey.DeviceID{}) && !d.ID.Valid() {
		return fmt.Errorf("client: device %s has a bad id", d.Alias)
	}
	if len(d.Addrs) > maxKnownAddrs || len(d.Basestations) > maxKnownAddrs {
		return fmt.Errorf("client: device %s has more than %d addresses", d.Alias, maxKnownAddrs)
	}
	for _, addr := range slices.Concat(d.Addrs, d.Basestations) {
		if _, _, err := net.SplitHostPort(addr); err != nil || !plainText(addr) {
			return fmt.Errorf("client: device %s: address %.80q is not HOST:PORT", d.Alias, addr)
		}
	}
	if !plainText(d.User) || !plainText(d.Name) {
		return fmt.Errorf("client: device %s has a name with characters that cannot be printed, or longer than %d bytes", d.Alias, maxKnownText)
	}
	return nil
}

func plainText(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return len(s) <= maxKnownText && utf8.ValidString(s)
}
