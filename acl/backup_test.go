package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// settled is a store with some of everything.
func settled(t testing.TB) *Store {
	t.Helper()
	s := newStore(t)
	end := time.Date(2030, 1, 1, 0, 0, 0, 7, time.UTC)
	pair(t, s, "anna", RoleAdmin, 1)
	pair(t, s, "Zoë", RoleGuest, 2)
	pair(t, s, "gone", RoleGuest, 6)
	update(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.PutPolicy(rule(t, "no-put", Deny, string(CoAPPut))), tx.PutPolicy(rule(t, RoleGuest, Allow, string(CoAPGet))),
			tx.PutRole(Role{Name: "staff", Policies: []string{"no-put"}, Includes: []string{RoleUser}}),
			tx.AddUser(User{Name: "bob", Role: "staff", Policies: []string{"no-put"}, Added: end, Expires: end}),
			tx.AddKey(Key{Fingerprint: fingerprint(3), User: "bob", Name: "Bob's <phone>", Policies: []string{RoleGuest}, Added: end, Origin: "invite", Expires: end}),
			tx.SetSetting("device.name", "Küche \"<&>\"\u2028"), tx.SetSetting("connect-secret", "c2VjcmV0"),
			tx.SetSetting("pairing.failures", "7"), tx.SetSetting("bootstrap-tokens", "[]"),
			tx.PutInvite(Invite{ID: oldInvite, User: "carl", Role: "staff", Verifier: []byte("canary-verifier")}),
			tx.RemoveUser("gone"))
	})
	if err := s.SetAnchor(Anchor{9, oldHead}); err != nil {
		t.Fatal(err)
	}
	return s
}

// kept writes down what a backup keeps of a store.
func kept(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	view(t, s, func(tx *Tx) {
		fmt.Fprintln(&b, tx.Roles())
		for _, a := range tx.Accounts() {
			fmt.Fprintln(&b, a)
		}
		for _, p := range tx.Policies() {
			fmt.Fprintln(&b, p.Name(), p.Statements())
		}
		for _, name := range []string{"device.name", "connect-secret", "other"} {
			v, ok := tx.Setting(name)
			fmt.Fprintln(&b, name, v, ok)
		}
	})
	return b.String()
}

func takeBackup(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Backup(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What was backed up comes back, in the place of what was there; what belongs to the
// device stays.
func TestRestore(t *testing.T) {
	from := settled(t)
	text, want := takeBackup(t, from), kept(t, from)
	for _, secret := range []string{"canary-verifier", "pairing", "bootstrap", "invites", "carl", fingerprint(6).String()} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the backup has %q", secret)
		}
	}
	s := newStore(t)
	pair(t, s, "owner", RoleAdmin, 8)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.AddUser(User{Name: "eve", Role: RoleUser}), tx.SetSetting("other", "x"), tx.SetSetting("pairing.failures", "2"),
			tx.PutInvite(Invite{ID: testInviteID(1), User: "dora", Role: RoleGuest}))
	})
	if err := s.SetAnchor(Anchor{4, [32]byte{4}}); err != nil {
		t.Fatal(err)
	}
	done, err := s.Restore(bytes.NewReader(text))
	if got := fmt.Sprint(done, err); got != "{3 3 5 5 2 []} <nil>" {
		t.Errorf("Restore returns %s", got)
	}
	for range 2 {
		if got := kept(t, s); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		view(t, s, func(tx *Tx) {
			v, _ := tx.Setting("pairing.failures")
			_, bootstrap := tx.Setting("bootstrap-tokens")
			_, revoked := tx.Revoked(fingerprint(8))
			if v != "2" || bootstrap || revoked || len(tx.Invites()) != 0 || s.Anchor().Count != 4 {
				t.Errorf("budget %q, tokens %t, owner revoked %t, %d invitations, anchor %v", v, bootstrap, revoked, len(tx.Invites()), s.Anchor())
			}
		})
		s = reopen(t, s)
	}
	if done, err := s.Restore(bytes.NewReader(takeBackup(t, s))); err != nil || kept(t, s) != want {
		t.Errorf("its own backup: %+v, %v", done, err)
	}
}

// Keys that were removed since the backup stay out.
func TestRestoreKeepsRevoked(t *testing.T) {
	s := settled(t)
	text := takeBackup(t, s)
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("bob") })
	done, err := s.Restore(bytes.NewReader(text))
	if err != nil || len(done.Revoked) != 1 || done.Revoked[0] != fingerprint(3) || done.Keys != 2 || done.Users != 3 {
		t.Errorf("%+v, %v", done, err)
	}
	for _, s := range []*Store{s, reopen(t, s)} {
		if _, ok := s.Lookup(fingerprint(3)); ok {
			t.Error("bob's key came back")
		}
	}
}

// A backup in which nobody administers the device does not replace one who does.
func TestRestoreLastAdmin(t *testing.T) {
	s := settled(t)
	text := takeBackup(t, s)
	pair(t, s, "next", RoleAdmin, 7)
	update(t, s, func(tx *Tx) error { return tx.RemoveUser("anna") })
	before := kept(t, s)
	if _, err := s.Restore(bytes.NewReader(text)); !errors.Is(err, ErrLastAdmin) || kept(t, s) != before {
		t.Errorf("Restore returns %v", err)
	}
	if _, err := newStore(t).Restore(bytes.NewReader(takeBackup(t, newStore(t)))); err != nil {
		t.Errorf("a backup of nobody, where nobody is: %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	s := settled(t)
	text := takeBackup(t, s)
	before := s.vault.Records()
	refuses := func(what string, r io.Reader, want error) {
		t.Helper()
		if _, err := s.Restore(r); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	reseal := func(change func(content map[string]json.RawMessage, b *backup)) io.Reader {
		var b backup
		var content map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(text, &b), json.Unmarshal(b.Content, &content)); err != nil {
			t.Fatal(err)
		}
		change(content, &b)
		return bytes.NewReader(sealed(t, b, content))
	}
	bad := func(part, text string) io.Reader {
		return reseal(func(c map[string]json.RawMessage, _ *backup) { c[part] = json.RawMessage(text) })
	}
	if _, err := s.Restore(reseal(func(map[string]json.RawMessage, *backup) {})); err != nil {
		t.Fatalf("resealed: %v", err)
	}
	if _, err := s.Restore(bad("settings", `{"pairing.failures":"0"}`)); err != nil {
		t.Fatalf("with a budget: %v", err)
	}
	view(t, s, func(tx *Tx) {
		if v, _ := tx.Setting("pairing.failures"); v != "7" {
			t.Errorf("a backup brought a budget: %q", v)
		}
	})
	if _, err := s.Restore(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	refuses("nothing", strings.NewReader(""), ErrDamaged)
	refuses("no JSON", strings.NewReader("backup"), ErrDamaged)
	refuses("another document", strings.NewReader(`{"format":"other","version":1,"checksum":"","content":{}}`), ErrDamaged)
	refuses("two documents", bytes.NewReader(append(bytes.Clone(text), text...)), ErrDamaged)
	refuses("version 0", reseal(func(_ map[string]json.RawMessage, b *backup) { b.Version = 0 }), ErrDamaged)
	refuses("a later version", reseal(func(_ map[string]json.RawMessage, b *backup) { b.Version = Version + 1 }), ErrNewer)
	refuses("an unknown part", bad("more", `1`), ErrDamaged)
	refuses("an unknown role", bad("users", `[{"name":"anna","role":"king"}]`), latchkey.ErrNotFound)
	refuses("no built-in roles", bad("roles", `[]`), latchkey.ErrNotFound)
	refuses("a bad policy", bad("policies", `[{"name":"x","statements":[{"effect":"perhaps","actions":["*"],"resources":["**"]}]}]`), nil)
	refuses("a setting without a name", bad("settings", `{"":"x"}`), nil)
	refuses("twins", bad("users", `[{"name":"anna","role":"admin"},{"name":"ANNA","role":"admin"}]`), latchkey.ErrConflict)
	refuses("a key twice", bad("keys", fmt.Sprintf(`[{"fingerprint":%q,"user":"anna"},{"fingerprint":%[1]q,"user":"bob"}]`, fingerprint(1))), latchkey.ErrConflict)
	refuses("a reader that fails", iotest.ErrReader(fs.ErrInvalid), fs.ErrInvalid)
	for n := range len(text) - 2 {
		if n%7 == 0 {
			refuses(fmt.Sprintf("the first %d bytes", n), bytes.NewReader(text[:n]), ErrDamaged)
		}
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range flips {
		damaged, at := bytes.Clone(text), random.IntN(len(text))
		damaged[at] ^= 1 << random.IntN(8)
		if _, err := s.Restore(bytes.NewReader(damaged)); err == nil && !sameText(damaged, text) {
			t.Errorf("byte %d: accepted", at)
		}
	}
	if got := s.vault.Records(); len(got) != len(before)-1 { // the invitation went with the resealed backup
		t.Errorf("%d records, %d before", len(got), len(before))
	}
	s.commit = refuse
	if _, err := s.Restore(bytes.NewReader(text)); !errors.Is(err, errDisk) {
		t.Errorf("a disk that refuses: %v", err)
	}
	if err := s.Backup(writerFunc(func([]byte) (int, error) { return 0, errDisk })); !errors.Is(err, errDisk) {
		t.Errorf("a backup to nowhere: %v", err)
	}
}

// sameText reports whether two documents differ in white space or case of names
// alone.
func sameText(a, b []byte) bool {
	var x, y backup
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && fmt.Sprint(compact(x)) == fmt.Sprint(compact(y))
}

func compact(b backup) backup {
	var plain bytes.Buffer
	_ = json.Compact(&plain, b.Content)
	b.Content = plain.Bytes()
	return b
}

// sealed writes a backup with that content and the right checksum.
func sealed(t testing.TB, b backup, content map[string]json.RawMessage) []byte {
	t.Helper()
	plain, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	b.Content, b.Checksum = plain, checksumOf(plain)
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A backup is of one moment, however many changes there are meanwhile.
func TestBackupWhileChanging(t *testing.T) {
	s := newStore(t)
	s.commit = func(map[vault.ID]vault.Record) error { return nil }
	pair(t, s, "a", RoleAdmin, 1)
	pair(t, s, "b", RoleGuest, 2)
	done := make(chan struct{})
	go func() { // ends after its changes
		defer close(done)
		for i := range 200 {
			names := [2]string{"a", "b"}
			_ = s.Update(func(tx *Tx) error {
				return errors.Join(tx.SetRole(names[i%2], RoleGuest), tx.SetRole(names[1-i%2], RoleAdmin))
			})
		}
	}()
	other := newStore(t)
	other.commit = func(map[vault.ID]vault.Record) error { return nil }
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		if _, err := other.Restore(bytes.NewReader(takeBackup(t, s))); err != nil {
			t.Fatal(err)
		}
		if n := other.now.Load().administrators(); n != 1 {
			t.Fatalf("%d administrators", n)
		}
	}
}
