package acl

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// oldFile returns the file of that version in testdata. It is in the byte order
// of most machines; ok says whether this is one of them.
func oldFile(t testing.TB, version int) (data []byte, ok bool) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("access-v%d.db.gz", version)))
	if err != nil {
		t.Fatal(err)
	}
	unpacker, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(unpacker); err != nil {
		t.Fatal(err)
	}
	return data, binary.NativeEndian.Uint16([]byte{1, 0}) == 1
}

var (
	oldAdded = time.Date(2026, 11, 21, 19, 0, 0, 123456789, time.UTC)
	oldHead  = [32]byte{1, 31: 9}
)

const (
	oldInvite = "AAECAwQFBgcICQoLDA0ODw"
	oldNight  = `{"name":"night","statements":[{"effect":"deny","actions":["*"],"resources":["/a<b>&c/**"]}]}`
)

// oldContent writes down what both old files hold.
func oldContent(t *testing.T, tx *Tx) string {
	t.Helper()
	k, _ := tx.Key(fingerprint(3))
	r, _ := tx.Role("night-watch")
	p, _ := tx.Policy("night")
	v, _ := tx.Setting("device.name")
	return fmt.Sprint(tx.Users(), tx.Keys("anna"), k, r, text(t, p), v, len(tx.Roles()), len(tx.Policies()))
}

func wantOldContent(t *testing.T, watch Role, roles int) string {
	t.Helper()
	night, err := ParsePolicy("night", []byte(oldNight))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(
		[]User{
			{"Zoë", "night-watch", []string{"night"}, oldAdded, oldAdded.Add(time.Hour)},
			{"anna", RoleAdmin, nil, time.Time{}, time.Time{}},
		},
		[]Key{{fingerprint(1), "anna", "laptop", nil, time.Time{}, "manual", time.Time{}}},
		Key{fingerprint(3), "Zoë", "Zoë's phone", []string{"user"}, oldAdded, "local-open", oldAdded.Add(time.Minute)},
		watch, text(t, night), "Küche \"<&>\"\u2028", roles, 5)
}

// A file of the first version is brought to this one, holds what it held, and
// can be changed.
func TestOldFileV1(t *testing.T) {
	data, ok := oldFile(t, 1)
	if !ok {
		return
	}
	s, err := openBytes(t, data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(2) {
		if err := s.View(func(tx *Tx) error {
			if got, want := oldContent(t, tx), wantOldContent(t, Role{"night-watch", []string{"guest", "night"}, nil}, 5); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if tx.Generation() != 5+i { // 4, and the migration
				t.Errorf("generation %d", tx.Generation())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Lookup(fingerprint(2)); ok {
			t.Error("bob, who was removed, is there")
		}
		if err := s.Authorize(t.Context(), &Request{Peer: fingerprint(9), Action: TokenLogin, Resource: "/token"}); err != nil {
			t.Errorf("a stranger shows a token: %v", err)
		}
		update(t, s, func(tx *Tx) error { return tx.SetSetting("more", "x") })
		s = reopen(t, s)
	}
}

// The format of this version stays.
func TestOldFileV2(t *testing.T) {
	data, ok := oldFile(t, 2)
	if !ok {
		return
	}
	s, err := openBytes(t, data)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.View(func(tx *Tx) error {
			watch := Role{"night-watch", []string{"night"}, []string{"guest"}}
			if got, want := oldContent(t, tx), wantOldContent(t, watch, 5); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			i, _ := tx.Invite(oldInvite)
			want := Invite{oldInvite, "carl", RoleGuest, "anna", oldAdded, oldAdded.Add(time.Hour), 3, []byte{0, 1, 255}}
			if got := fmt.Sprint(i, len(tx.Invites())); got != fmt.Sprint(want, 1) {
				t.Errorf("got  %s\nwant %v", got, want)
			}
			if at, ok := tx.Revoked(fingerprint(2)); !ok || at.IsZero() {
				t.Errorf("bob's key: revoked %v %t", at, ok)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got, want := s.Anchor(), (Anchor{70000, oldHead}); got != want {
			t.Errorf("anchor %v, want %v", got, want)
		}
		update(t, s, func(tx *Tx) error { return tx.SetSetting("more", "x") })
		s = reopen(t, s)
	}
}

// What the owner made of a policy stays.
func TestMigrateKeepsChangedPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		text    string // of the policy for strangers, in a file of version 1
		migrate bool
	}{
		"as it was":  {formerly[RoleUnpaired], true},
		"narrowed":   {`{"name":"unpaired","statements":[{"effect":"allow","actions":["pair:invite"],"resources":["**"]}]}`, false},
		"emptied":    {`{"name":"unpaired","statements":[]}`, false},
		"as now":     {`{"name":"unpaired","statements":[{"effect":"allow","actions":["pair:*","token:login"],"resources":["**"]}]}`, true},
		"with space": {`{"name": "unpaired","statements":[{"effect":"allow","actions":["pair:*"],"resources":["**"]}]}`, false},
	} {
		defaults := newTx(newState(), nil)
		if err := putDefaults(defaults); err != nil {
			t.Fatal(err)
		}
		id := policyID(RoleUnpaired)
		records := maps.Clone(defaults.changes)
		records[id] = vault.Seal(id, []byte(c.text))
		first := *kind
		first.Version = 1
		path := filepath.Join(t.TempDir(), "access.db")
		if err := vault.Create(path, &first, records); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = s.Authorize(t.Context(), &Request{Peer: fingerprint(9), Action: TokenLogin, Resource: "/token"})
		if (err == nil) != c.migrate || err != nil && !errors.Is(err, latchkey.ErrUnpaired) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
		if _, err := vault.Open(path, &first, func(map[vault.ID]vault.Record) error { return nil }); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "update Latchkey") {
			t.Errorf("%s: the version before opens it: %v", name, err)
		}
	}
}

// openOnce says that it begins, and opens a store.
func openOnce(path string) error {
	fmt.Println("begin")
	s, err := Open(path)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestKillMigrate kills a process while it brings a file forward. Then the file is
// of the one version or of the other, whole.
func TestKillMigrate(t *testing.T) {
	data, ok := oldFile(t, 1)
	if !ok {
		return
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	dir, migrated := t.TempDir(), 0
	for round := range createKills {
		path := filepath.Join(dir, strconv.Itoa(round)+".db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := child(t, "open", path)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(pipe).ReadString('\n'); line != "begin\n" {
			t.Fatal(line, err)
		}
		time.AfterFunc(time.Duration(random.IntN(10_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or done
		if migratedV1(t, path) {
			migrated++
		}
	}
	t.Logf("%d of %d processes brought the file forward before they were killed", migrated, createKills)
}

// migratedV1 demands that the file is the old one of version 1 or what becomes of
// it, and opens. It reports whether it was brought forward already.
func migratedV1(t *testing.T, path string) bool {
	t.Helper()
	first := *kind
	first.Version = 1
	v, err := vault.Open(path, &first, func(map[vault.ID]vault.Record) error { return nil })
	migrated := errors.Is(err, ErrNewer)
	if err == nil {
		err = v.Close()
	}
	if err != nil && !migrated {
		t.Errorf("%s: %v", path, err)
	}
	s, err := Open(path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer s.Close()
	view(t, s, func(tx *Tx) {
		if got, want := oldContent(t, tx), wantOldContent(t, Role{"night-watch", []string{"guest", "night"}, nil}, 5); got != want || tx.Generation() != 5 {
			t.Errorf("generation %d, got  %s\nwant %s", tx.Generation(), got, want)
		}
	})
	if err := s.Authorize(t.Context(), &Request{Peer: fingerprint(9), Action: TokenLogin, Resource: "/token"}); err != nil {
		t.Errorf("a stranger shows a token: %v", err)
	}
	return migrated
}
