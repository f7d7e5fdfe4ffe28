package pairing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// TestInviteIsChecked before the work, and as it is made.
func TestInviteIsChecked(t *testing.T) {
	errNo := errors.New("not any more")
	for _, yes := range []int{0, 1, 2} {
		h := newHouse(t, pairing.Invite)
		asked := 0
		_, err := h.Invite(start, pairing.InviteRequest{User: "bob", Role: acl.RoleGuest, Check: func(*acl.Tx) error {
			if asked++; asked > yes {
				return errNo
			}
			return nil
		}})
		if made := yes == 2; made && err != nil || !made && !errors.Is(err, errNo) {
			t.Errorf("after %d times yes: %v", yes, err)
		}
		if want := min(yes+1, 2); asked != want {
			t.Errorf("asked %d times, want %d", asked, want)
		}
	}
}

// TestOldInvitesMakeRoom: what nobody can use is removed with the next invitation,
// and people see for a day what has expired.
func TestOldInvitesMakeRoom(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	invite := func(user string, now, expires time.Time) string {
		t.Helper()
		in, err := h.Invite(now, pairing.InviteRequest{User: user, Role: acl.RoleGuest, Expires: expires})
		if err != nil {
			t.Fatal(err)
		}
		return in.ID
	}
	old, recent := invite("old", start, start.Add(time.Hour)), invite("recent", start, start.Add(3*time.Hour))
	worn, forever := invite("worn", start, time.Time{}), invite("forever", start, time.Time{})
	err := h.store.Update(func(tx *acl.Tx) error {
		i, _ := tx.Invite(worn)
		i.Failures = pairing.MaxFailures
		return tx.PutInvite(i)
	})
	if err != nil {
		t.Fatal(err)
	}
	next := invite("next", start.Add(26*time.Hour), time.Time{})
	err = h.store.View(func(tx *acl.Tx) error {
		for id, want := range map[string]bool{old: false, recent: true, worn: false, forever: true, next: true} {
			if i, there := tx.Invite(id); there != want {
				t.Errorf("%s is there: %v", i.User, there)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestInvitedNamesAreTaken for others, as long as the invited may come.
func TestInvitedNamesAreTaken(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	if _, err := h.Invite(start, pairing.InviteRequest{User: "bob", Role: acl.RoleGuest, Expires: start.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	err := h.store.View(func(tx *acl.Tx) error {
		for _, c := range []struct {
			name  string
			at    time.Time
			taken bool
		}{
			{"bob", start, true},
			{"BOB", start, true},
			{"bobby", start, false},
			{"bob", start.Add(time.Hour), false},
			{"bob", time.Time{}, true},
		} {
			if err := pairing.Reserved(tx, c.name, c.at); errors.Is(err, latchkey.ErrConflict) != c.taken {
				t.Errorf("%s at %v: %v", c.name, c.at, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
