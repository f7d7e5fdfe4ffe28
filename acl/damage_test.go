package acl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

// fullFile returns a file with some of everything, and what is in it.
func fullFile(t testing.TB) ([]byte, map[vault.ID]vault.Record) {
	t.Helper()
	s := newStore(t)
	random := rand.New(rand.NewPCG(1, 1))
	pair(t, s, "anna", RoleAdmin, 1)
	for i := range 3 {
		update(t, s, func(tx *Tx) error {
			for j := range 25 {
				name := fmt.Sprintf("user-%d-%d", i, j)
				if err := errors.Join(tx.AddUser(User{Name: name, Role: RoleUser}),
					tx.AddKey(Key{Fingerprint: fingerprint(1000*i + j + 10), User: name, Name: "phone", Origin: "local-open"})); err != nil {
					return err
				}
			}
			return tx.SetSetting(fmt.Sprintf("large-%d", i), fmt.Sprint(random.Perm(2500))) // overflows its page
		})
	}
	update(t, s, func(tx *Tx) error {
		for i := range 20 {
			if err := tx.PutInvite(Invite{ID: testInviteID(i), User: "carl", Role: RoleGuest, Verifier: bytes.Repeat([]byte{byte(i)}, 200)}); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutRole(Role{Name: "staff", Policies: []string{RoleUser}, Includes: []string{RoleGuest}}),
			tx.PutPolicy(rule(t, "no-put", Deny, string(CoAPPut))), tx.RemoveUser("user-1-7"))
	})
	if err := s.SetAnchor(Anchor{70000, oldHead}); err != nil {
		t.Fatal(err)
	}
	want := s.vault.Records()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data, want
}

// openBytes opens a file with that content.
func openBytes(t testing.TB, data []byte) (*Store, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	switch {
	case err == nil:
		t.Cleanup(func() { s.Close() })
	case !strings.Contains(err.Error(), path):
		t.Errorf("%v does not name the file", err)
	}
	after, readErr := os.ReadFile(path)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil && !bytes.Equal(after, data) {
		t.Errorf("%v, and the file was changed", err)
	}
	return s, err
}

// refusedOrSame fails the test unless data is refused as damaged, or holds want
// to the last byte and can be changed. It reports which of them it was.
func refusedOrSame(t *testing.T, what string, data []byte, want map[vault.ID]vault.Record) (refused bool) {
	t.Helper()
	s, err := openBytes(t, data)
	if err != nil {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("%s: %v", what, err)
		}
		return true
	}
	if !maps.Equal(s.vault.Records(), want) || generation(t, s) != 6 {
		t.Errorf("%s: accepted with another content", what)
		return false
	}
	if err := s.Update(func(tx *Tx) error { return tx.SetSetting("after", what) }); err != nil {
		t.Errorf("%s: accepted, but cannot be changed: %v", what, err)
		return false
	}
	reopen(t, s)
	return false
}

// Bits turned over: the file is refused, or holds what it held.
func TestFlippedBits(t *testing.T) {
	data, want := fullFile(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for range flips {
		at, bit := random.IntN(len(data)), random.IntN(8)
		damaged := bytes.Clone(data)
		damaged[at] ^= 1 << bit
		if refusedOrSame(t, fmt.Sprintf("seed %d: byte %d, bit %d", seed, at, bit), damaged, want) {
			refused++
		}
	}
	if refused < flips/10 {
		t.Errorf("only %d of %d flips were refused: they did not hit what counts", refused, flips)
	}
	t.Logf("%d of %d flips refused, the others harmless", refused, flips)
}

// Bytes changed inside of records, whatever these are about: always refused.
func TestFlippedRecords(t *testing.T) {
	_, records := fullFile(t)
	path := filepath.Join(t.TempDir(), "access.db")
	if err := vault.Create(path, kind, records); err != nil { // each record is in there once
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	buckets := make(map[string][]vault.ID)
	for id := range records {
		buckets[id.Bucket] = append(buckets[id.Bucket], id)
	}
	if len(buckets) != len(kind.Buckets) {
		t.Fatalf("records in %d of %d buckets", len(buckets), len(kind.Buckets))
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range flips {
		ids := buckets[kind.Buckets[i%len(kind.Buckets)]]
		id := ids[random.IntN(len(ids))]
		at := bytes.Index(data, []byte(records[id]))
		if at < 0 {
			t.Fatalf("record %q in %q is not in the file", id.Key, id.Bucket)
		}
		damaged := bytes.Clone(data)
		damaged[at+random.IntN(len(records[id]))] ^= byte(1 + random.IntN(255))
		if s, err := openBytes(t, damaged); !errors.Is(err, ErrDamaged) {
			t.Errorf("seed %d: record %q in %q: %v", seed, id.Key, id.Bucket, err)
			s.Close()
		}
	}
}

func TestTruncated(t *testing.T) {
	const page = 4096
	data, want := fullFile(t)
	for size := 0; size < len(data); size += page {
		for _, size := range []int{size, size + 1, size + page/2} {
			refused := refusedOrSame(t, fmt.Sprintf("%d bytes", size), data[:size], want)
			if !refused && size < len(data)/2 {
				t.Errorf("%d bytes of %d: accepted", size, len(data))
			}
		}
	}
}

// Records that are whole and still make no sense are refused.
func TestNonsense(t *testing.T) {
	defaults := newTx(newState(), nil)
	if err := putDefaults(defaults); err != nil {
		t.Fatal(err)
	}
	bob, key := `{"name":"bob","role":"user"}`, `{"fingerprint":"`+fingerprint(1).String()+`","user":"bob"}`
	place := keyID(fingerprint(1)).Key
	invite := `{"id":"` + oldInvite + `","user":"carl","role":"guest","failures":0,"verifier":"AAE="}`
	for name, c := range map[string]struct {
		records [][3]string // bucket, key, payload; without a payload it is missing
		ok      bool
	}{
		"nobody":                       {nil, true},
		"in order":                     {[][3]string{{usersBucket, "bob", bob}, {keysBucket, place, key}, {settingsBucket, "a", `"b"`}}, true},
		"a user elsewhere":             {[][3]string{{usersBucket, "carl", bob}}, false},
		"a user in another bucket":     {[][3]string{{rolesBucket, "bob", bob}}, false},
		"a user in two cases":          {[][3]string{{usersBucket, "bob", bob}, {usersBucket, "BOB", `{"name":"BOB","role":"user"}`}}, false},
		"a user of an unknown role":    {[][3]string{{usersBucket, "bob", `{"name":"bob","role":"king"}`}}, false},
		"a user as a stranger":         {[][3]string{{usersBucket, "bob", `{"name":"bob","role":"unpaired"}`}}, false},
		"a user of an unknown policy":  {[][3]string{{usersBucket, "bob", `{"name":"bob","role":"user","policies":["x"]}`}}, false},
		"an unknown field":             {[][3]string{{usersBucket, "bob", `{"more":1,` + bob[1:]}}, false},
		"no JSON":                      {[][3]string{{usersBucket, "bob", "bob"}}, false},
		"a key of nobody":              {[][3]string{{keysBucket, place, key}}, false},
		"a key elsewhere":              {[][3]string{{usersBucket, "bob", bob}, {keysBucket, keyID(fingerprint(2)).Key, key}}, false},
		"a key without a fingerprint":  {[][3]string{{usersBucket, "bob", bob}, {keysBucket, place, `{"user":"bob"}`}}, false},
		"a role elsewhere":             {[][3]string{{rolesBucket, "king", `{"name":"queen","policies":[]}`}}, false},
		"a role of an unknown policy":  {[][3]string{{rolesBucket, "king", `{"name":"king","policies":["x"]}`}}, false},
		"a built-in role missing":      {[][3]string{{rolesBucket, RoleUnpaired, ""}}, false},
		"a policy missing":             {[][3]string{{policiesBucket, RoleGuest, ""}}, false},
		"a policy elsewhere":           {[][3]string{{policiesBucket, "x", `{"name":"y","statements":[{"effect":"deny","actions":["*"],"resources":["/**"]}]}`}}, false},
		"a policy of another language": {[][3]string{{policiesBucket, "x", `{"name":"x","statements":[{"effect":"perhaps","actions":["*"],"resources":["/**"]}]}`}}, false},
		"a setting that is not a text": {[][3]string{{settingsBucket, "a", `1`}}, false},
		"roles in a circle":            {[][3]string{{rolesBucket, "a", `{"name":"a","policies":[],"includes":["b"]}`}, {rolesBucket, "b", `{"name":"b","policies":[],"includes":["a"]}`}}, false},
		"an invitation":                {[][3]string{{invitesBucket, oldInvite, invite}}, true},
		"an invitation elsewhere":      {[][3]string{{invitesBucket, testInviteID(1), invite}}, false},
		"an invitation to a king":      {[][3]string{{invitesBucket, oldInvite, strings.Replace(invite, "guest", "king", 1)}}, false},
		"an invitation without an id":  {[][3]string{{invitesBucket, oldInvite, `{"user":"carl","role":"guest","failures":0,"verifier":""}`}}, false},
		"an invitation with a secret":  {[][3]string{{invitesBucket, oldInvite, `{"password":"x",` + invite[1:]}}, false},
		"a removed key":                {[][3]string{{revokedBucket, place, `{"at":"2027-01-01T00:00:00Z","change":1}`}}, true},
		"a removed key without a time": {[][3]string{{revokedBucket, place, `1`}}, false},
		"a removed key that is none":   {[][3]string{{revokedBucket, "key", `{"at":"2027-01-01T00:00:00Z","change":1}`}}, false},
		"an anchor elsewhere":          {[][3]string{{anchorBucket, "other", `{"count":1,"head":"` + strings.Repeat("00", 32) + `"}`}}, false},
		"an anchor without a hash":     {[][3]string{{anchorBucket, "audit", `{"count":1,"head":"00"}`}}, false},
		"an anchor below zero":         {[][3]string{{anchorBucket, "audit", `{"count":-1,"head":"` + strings.Repeat("00", 32) + `"}`}}, false},
	} {
		records := maps.Clone(defaults.changes)
		for _, r := range c.records {
			id := vault.ID{Bucket: r[0], Key: r[1]}
			if records[id] = vault.Seal(id, []byte(r[2])); r[2] == "" {
				delete(records, id)
			}
		}
		path := filepath.Join(t.TempDir(), "access.db")
		if err := vault.Create(path, kind, records); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if c.ok != (err == nil) || err != nil && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	data, records := fullFile(t)
	write := func(t *testing.T, mode fs.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "access.db")
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	refuses := func(name string, want error, path, hint string) {
		t.Helper()
		s, err := Open(path)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
	missing := filepath.Join(t.TempDir(), "access.db")
	refuses("missing", fs.ErrNotExist, missing, "restore a backup, or run init")
	if _, err := os.Lstat(missing); err == nil {
		t.Error("Open made a file")
	}
	refuses("a directory", ErrLoose, t.TempDir(), "not a regular file")
	newer, later := filepath.Join(t.TempDir(), "access.db"), *kind
	later.Version++
	if err := vault.Create(newer, &later, records); err != nil {
		t.Fatal(err)
	}
	refuses("a later version", ErrNewer, newer, "update Latchkey")
	large := write(t, 0o600)
	if err := os.Truncate(large, MaxFile+1); err != nil {
		t.Fatal(err)
	}
	refuses("a large file", ErrDamaged, large, fmt.Sprint(MaxFile))
	if runtime.GOOS == "windows" {
		return
	}
	path := write(t, 0o640)
	refuses("a file that others can read", ErrLoose, path, "chmod 600 "+path)
	path = write(t, 0o600)
	if err := os.Chmod(filepath.Dir(path), 0o770); err != nil {
		t.Fatal(err)
	}
	refuses("a directory that others can write", ErrLoose, path, "chmod 700 "+filepath.Dir(path))
	if _, err := Create(path + ".new"); !errors.Is(err, ErrLoose) {
		t.Errorf("Create where others can write: %v", err)
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("Create made a file where others can replace it")
	}
}

func TestSecondProcess(t *testing.T) {
	s := newStore(t)
	if _, err := Open(s.path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "another daemon uses this directory") {
		t.Errorf("%v", err)
	}
	pair(t, s, "anna", RoleAdmin, 1) // the first is not disturbed
	reopen(t, s)
}

func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "access.db")
	s, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(empty); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an empty file: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700, filepath.Dir(dir): 0o700} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}
