package pairing

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const (
	// MaxFailures is how often one password may be tried in vain: that of the
	// device until the owner opens password-open again, that of an invitation
	// until it is void.
	MaxFailures = 10
	// MaxFailuresFrom is how many of the failures of password-open may come from
	// one source within an hour. A source is an IPv4 address, an IPv6 network of
	// 56 bits, or all relays together.
	MaxFailuresFrom = 3

	failuresWindow = time.Hour

	// failuresSetting is the store's setting that keeps the failures of
	// password-open across restarts.
	failuresSetting = "pairing.failures"
)

// failures are the tries of the device's password that did not succeed, or not
// yet: each is written down before it is answered.
type failures struct {
	Last uint64    `json:"last"` // the highest number that was given out
	List []failure `json:"list"` // at most MaxFailures
}

type failure struct {
	Number uint64    `json:"n"`
	At     time.Time `json:"at"`
	Source string    `json:"source"`
}

func loadFailures(tx *acl.Tx) (f failures, err error) {
	text, ok := tx.Setting(failuresSetting)
	if !ok {
		return f, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("setting %s: %w", failuresSetting, err)
	}
	return f, nil
}

func (f failures) save(tx *acl.Tx) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return tx.SetSetting(failuresSetting, string(text))
}

// check returns nil while one more try is left for a source.
func (f failures) check(now time.Time, source string) error {
	if len(f.List) >= MaxFailures {
		return fmt.Errorf("%w: %w", latchkey.ErrPairingClosed, errWorn)
	}
	recent := 0
	for _, one := range f.List {
		// What lies ahead was written by a clock that was put back since; redate.
		if one.Source == source && (now.IsZero() || now.Sub(one.At) < failuresWindow) {
			recent++
		}
	}
	if recent >= MaxFailuresFrom {
		return fmt.Errorf("%w: %d failures from %s within an hour", latchkey.ErrTooMany, recent, source)
	}
	return nil
}

// add notes one more try and returns its number.
func (f *failures) add(now time.Time, source string) uint64 {
	f.Last++
	f.List = append(f.List, failure{f.Last, now.UTC().Round(0), source})
	return f.Last
}

// redate makes those failures of now that lie more than the window ahead, because
// a clock was put back since, and reports whether there are any. They count for an
// hour then, and not until that date.
func (f failures) redate(now time.Time) (any bool) {
	for i := range f.List {
		if !now.IsZero() && f.List[i].At.Sub(now) > failuresWindow {
			f.List[i].At, any = now.UTC().Round(0), true
		}
	}
	return any
}

// redate does so in the store, if it is necessary.
func (h *Host) redate(now time.Time) error {
	ahead := false
	look := func(tx *acl.Tx) (f failures, err error) {
		if f, err = loadFailures(tx); err == nil {
			ahead = f.redate(now)
		}
		return f, err
	}
	err := h.store.View(func(tx *acl.Tx) error { _, err := look(tx); return err })
	if err != nil || !ahead {
		return err
	}
	return h.store.Update(func(tx *acl.Tx) error {
		tx.Quiet()
		f, err := look(tx)
		if err != nil || !ahead {
			return err
		}
		return f.save(tx)
	})
}

// remove takes back the try of that number, which succeeded after all.
func (f *failures) remove(number uint64) {
	f.List = slices.DeleteFunc(f.List, func(one failure) bool { return one.Number == number })
}

// forgive forgets all failures.
func forgive(tx *acl.Tx) error {
	tx.Quiet()
	f, err := loadFailures(tx)
	if err == nil && len(f.List) == 0 {
		return nil
	}
	// What cannot be read is forgotten with the rest.
	return failures{Last: f.Last}.save(tx)
}

// sourceOf names the part of the network that a peer's failures count for.
func sourceOf(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return "relay"
	}
	n := 32
	if a.Is6() {
		n = 56
	}
	prefix, err := a.Prefix(n)
	if err != nil {
		return "relay" // no address has fewer bits
	}
	return prefix.String()
}
