package acl

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// testInviteID returns a different id for each n.
func testInviteID(n int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%016d", n))
}

func TestInvites(t *testing.T) {
	s := newStore(t)
	made := time.Date(2027, 1, 1, 12, 0, 0, 5, time.FixedZone("", 3600))
	first := Invite{testInviteID(2), "carl", RoleGuest, "anna", made, made.Add(time.Hour), 0, []byte("verifier")}
	second := Invite{ID: testInviteID(1), User: "carl", Role: RoleUser, Created: made.Add(time.Second)}
	update(t, s, func(tx *Tx) error { return errors.Join(tx.PutInvite(second), tx.PutInvite(first)) })
	first.Created, first.Expires, second.Created = made.UTC(), made.Add(time.Hour).UTC(), second.Created.UTC()
	for range 2 {
		view(t, s, func(tx *Tx) {
			if got, want := fmt.Sprint(tx.Invites()), fmt.Sprint([]Invite{first, second}); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			i, ok := tx.Invite(first.ID)
			if i.Verifier[0] = 'x'; !ok {
				t.Error("not found")
			}
			if _, ok := tx.Invite(strings.ToUpper(first.ID)); ok {
				t.Error("found under another id")
			}
			if shown, err := json.Marshal(i); err != nil || strings.Contains(string(shown), "erifier") {
				t.Errorf("shown to people: %s, %v", shown, err)
			}
		})
		s = reopen(t, s)
	}
	first.Failures, first.Verifier = 9, nil
	update(t, s, func(tx *Tx) error { tx.Quiet(); return tx.PutInvite(first) })
	if i, _ := inviteOf(t, reopen(t, s), first.ID); i.Failures != 9 || i.Verifier != nil {
		t.Errorf("%+v", i)
	}
}

func TestInviteRefuses(t *testing.T) {
	s := newStore(t)
	good := Invite{ID: testInviteID(1), User: "carl", Role: "team", Created: time.Now()}
	update(t, s, func(tx *Tx) error { return errors.Join(tx.PutRole(Role{Name: "team"}), tx.PutInvite(good)) })
	with := func(change func(*Invite)) func(*Tx) error {
		return func(tx *Tx) error {
			i := good
			change(&i)
			return tx.PutInvite(i)
		}
	}
	for name, c := range map[string]struct {
		fn   func(*Tx) error
		want error // nil: a *Mistake
	}{
		"no id":                 {with(func(i *Invite) { i.ID = "" }), nil},
		"a short id":            {with(func(i *Invite) { i.ID = i.ID[1:] }), nil},
		"a padded id":           {with(func(i *Invite) { i.ID += "==" }), nil},
		"a second form of it":   {with(func(i *Invite) { i.ID = i.ID[:21] + "B" }), nil},
		"a path":                {with(func(i *Invite) { i.ID = "../../../../etc/passwd" }), nil},
		"a name that is none":   {with(func(i *Invite) { i.ID = testInviteID(2); i.User = "a\nb" }), nil},
		"a name in other form":  {with(func(i *Invite) { i.ID = testInviteID(2); i.User = "\uff41" }), nil},
		"a stranger's role":     {with(func(i *Invite) { i.Role = RoleUnpaired }), nil},
		"an unknown role":       {with(func(i *Invite) { i.Role = "king" }), latchkey.ErrNotFound},
		"an inviter in colours": {with(func(i *Invite) { i.By = "\x1b[31m" }), nil},
		"the year 10000":        {with(func(i *Invite) { i.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), nil},
		"failures below zero":   {with(func(i *Invite) { i.Failures = -1 }), nil},
		"a huge verifier":       {with(func(i *Invite) { i.Verifier = make([]byte, MaxVerifier+1) }), nil},
		"removal of none":       {func(tx *Tx) error { return tx.RemoveInvite(testInviteID(7)) }, latchkey.ErrNotFound},
		"removal of its role":   {func(tx *Tx) error { return tx.RemoveRole("team") }, latchkey.ErrConflict},
		"too many": {func(tx *Tx) error {
			for i := range MaxInvites {
				if err := tx.PutInvite(Invite{ID: testInviteID(100 + i), User: "carl", Role: "team"}); err != nil {
					return err
				}
			}
			return nil
		}, latchkey.ErrTooMany},
	} {
		err := s.Update(c.fn)
		var m *Mistake
		if err == nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &m) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who is removed does not come back by an invitation from before.
	pair(t, s, "Carl", RoleGuest, 1)
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("Carl") })
	if _, ok := inviteOf(t, s, good.ID); ok {
		t.Error("carl was removed and is invited")
	}
}

// A quiet change is kept, and wakes nobody; one that decides something does.
func TestQuiet(t *testing.T) {
	s := newStore(t)
	woken := func(fn func(*Tx) error) bool {
		t.Helper()
		changed := s.Changed()
		update(t, s, func(tx *Tx) error { tx.Quiet(); return fn(tx) })
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	if woken(func(tx *Tx) error { return tx.SetSetting("pairing.failures", "3") }) {
		t.Error("a setting woke somebody")
	}
	if !woken(func(tx *Tx) error { return tx.AddUser(User{Name: "bob", Role: RoleGuest}) }) {
		t.Error("a user woke nobody")
	}
	if woken(func(tx *Tx) error { return tx.SetSetting("pairing.failures", "4") }) {
		t.Error("a setting woke somebody")
	}
	changed := s.Changed()
	update(t, s, func(tx *Tx) error { return tx.SetSetting("a", "b") })
	select {
	case <-changed:
	default:
		t.Error("who began to wait after a quiet change was not woken by the next one")
	}
	view(t, reopen(t, s), func(tx *Tx) {
		if v, _ := tx.Setting("pairing.failures"); v != "4" {
			t.Errorf("kept %q", v)
		}
	})
}

func TestAnchor(t *testing.T) {
	s := newStore(t)
	if s.Anchor() != (Anchor{}) {
		t.Error("a new store has an anchor")
	}
	pair(t, s, "anna", RoleAdmin, 1)
	before, changed := generation(t, s), s.Changed()
	want := Anchor{1<<64 - 1, [32]byte{1, 2, 31: 255}}
	for _, a := range []Anchor{{1, [32]byte{7}}, want} {
		if err := s.SetAnchor(a); err != nil || s.Anchor() != a {
			t.Errorf("%v, %v", s.Anchor(), err)
		}
	}
	s.commit = refuse
	if err := s.SetAnchor(Anchor{5, [32]byte{5}}); !errors.Is(err, errDisk) || s.Anchor() != want || s.Err() != nil {
		t.Errorf("after a failure: %v, %v, %v", err, s.Anchor(), s.Err())
	}
	s.commit = s.vault.Commit
	select {
	case <-changed:
		t.Error("somebody was woken")
	default:
	}
	if generation(t, s) != before {
		t.Error("it counts as a change")
	}
	update(t, s, func(tx *Tx) error { return tx.SetRole("anna", RoleAdmin) })
	again := reopen(t, s)
	if again.Anchor() != want {
		t.Errorf("after a restart: %v", again.Anchor())
	}
	if err := s.SetAnchor(Anchor{}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
