package device

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// TestOpenByAnUnknownClock: what has an end is not opened while nobody knows when
// that would be, and what the device's program does is recorded like all else.
func TestOpenByAnUnknownClock(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { SetWall(d, func() time.Time { return time.Unix(100, 0) }) })
	if err := o.OpenPairing(pairing.LocalOpen, time.Hour); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("opened for an hour: %v", err)
	}
	if _, err := o.Invite(pairing.InviteRequest{User: "ida"}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("invited: %v", err)
	}
	if err := o.OpenPairing(pairing.LocalOpen, 0); err != nil {
		t.Errorf("opened: %v", err)
	}
	if err := o.ClosePairing(pairing.LocalOpen); err != nil || o.PairingModes().Has(pairing.LocalOpen) {
		t.Errorf("closed: %v, open are %v", err, o.PairingModes())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var told []string
	for _, e := range o.events {
		if e.Console && (e.Kind == acl.EventMode || e.Kind == acl.EventInvite) {
			told = append(told, string(e.Kind)+" "+string(e.Outcome)+" "+string(e.Action))
		}
	}
	if len(told) != 4 {
		t.Errorf("told: %q", told)
	}
}
