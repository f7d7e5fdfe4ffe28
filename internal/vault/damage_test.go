package vault

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

	bolt "go.etcd.io/bbolt"
)

const (
	usersBucket = "users"
	keysBucket  = "keys"
	textsBucket = "texts"
)

var (
	errDamaged = errors.New("test: damaged")
	errUsed    = errors.New("test: in use")
	errNewer   = errors.New("test: newer")
	errLoose   = errors.New("test: loose")
)

var testKind = &Kind{
	Version: 1, MaxFile: 1 << 24, Buckets: []string{usersBucket, keysBucket, textsBucket},
	Instead: "move the file away", Damaged: errDamaged, InUse: errUsed, Newer: errNewer, Loose: errLoose,
}

func accept(map[ID]Record) error { return nil }

// changes makes a change from bucket, key and payload; an empty payload removes.
func changes(texts ...string) map[ID]Record {
	out := make(map[ID]Record)
	for i := 0; i < len(texts); i += 3 {
		id := ID{texts[i], texts[i+1]}
		if out[id] = Seal(id, []byte(texts[i+2])); texts[i+2] == "" {
			out[id] = ""
		}
	}
	return out
}

func newVault(t testing.TB) *Vault {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault.db")
	if err := Create(path, testKind, changes(usersBucket, "anna", "admin")); err != nil {
		t.Fatal(err)
	}
	v, err := Open(path, testKind, accept)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func commit(t testing.TB, v *Vault, texts ...string) {
	t.Helper()
	if err := v.Commit(changes(texts...)); err != nil {
		t.Fatal(err)
	}
}

// reopen closes a vault, opens its file again and demands the same records.
func reopen(t testing.TB, v *Vault) *Vault {
	t.Helper()
	want := v.Records()
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Fatal(err)
	}
	var loaded map[ID]Record
	again, err := Open(v.path, testKind, func(r map[ID]Record) error { loaded = maps.Clone(r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	if !maps.Equal(loaded, want) || !maps.Equal(again.Records(), want) || again.Generation() != v.Generation() {
		t.Error("the file holds something else")
	}
	return again
}

// fullFile returns a file with branch pages, inline buckets, overflow pages and
// free pages, and what is in it.
func fullFile(t testing.TB) ([]byte, content) {
	t.Helper()
	v := newVault(t)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 3 {
		batch := []string{textsBucket, fmt.Sprintf("large-%d", i), fmt.Sprint(random.Perm(2500))} // overflows its page
		for j := range 40 {
			name := fmt.Sprintf("user-%d-%d", i, j)
			batch = append(batch, usersBucket, name, "role user", keysBucket, "key of "+name, strings.Repeat("k", 60))
		}
		commit(t, v, batch...)
	}
	commit(t, v, usersBucket, "user-1-7", "", keysBucket, "key of user-1-7", "")
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(v.path)
	if err != nil {
		t.Fatal(err)
	}
	return data, v.now
}

// livePages returns the pages that are in use, metas included.
func livePages(t testing.TB, data []byte) []int {
	t.Helper()
	root, pages, err := newestMeta(data)
	if err != nil {
		t.Fatal(err)
	}
	r := &pageReader{data: data, pages: pages, used: make([]bool, pages), visit: func(_, _, _ []byte) error { return nil }}
	if err := r.walk(root, nil, nil, 0, r.bucket); err != nil {
		t.Fatal(err)
	}
	live := []int{0, 1}
	for i, used := range r.used {
		if used {
			live = append(live, i)
		}
	}
	return live
}

// openBytes opens a file with that content.
func openBytes(t testing.TB, data []byte) (*Vault, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, testKind, accept)
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
func refusedOrSame(t *testing.T, what string, data []byte, want content) (refused bool) {
	t.Helper()
	s, err := openBytes(t, data)
	if err != nil {
		if !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		return true
	}
	if !maps.Equal(s.now.records, want.records) || s.now.total != want.total {
		t.Errorf("%s: accepted with another content", what)
		return false
	}
	if err := s.Commit(changes(textsBucket, "after", what)); err != nil {
		t.Errorf("%s: accepted, but cannot be changed: %v", what, err)
		return false
	}
	reopen(t, s)
	return false
}

func TestFlippedBits(t *testing.T) {
	data, want := fullFile(t)
	live := livePages(t, data)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for range flips {
		damaged := bytes.Clone(data)
		at := live[random.IntN(len(live))]*pageSize + random.IntN(pageSize)
		mask := byte(1 + random.IntN(255)) // a whole byte, or one bit of it
		if random.IntN(2) == 0 {
			mask = 1 << random.IntN(8)
		}
		damaged[at] ^= mask
		what := fmt.Sprintf("seed %d: page %d, byte %d, mask %x", seed, at/pageSize, at%pageSize, mask)
		if refusedOrSame(t, what, damaged, want) {
			refused++
		}
	}
	if refused < flips/4 {
		t.Errorf("only %d of %d flips were refused: they did not hit what counts", refused, flips)
	}
	t.Logf("%d of %d flips refused, the others harmless", refused, flips)
}

// The first bytes of each page hold numbers that bbolt follows: every bit of
// them is turned over.
func TestFlippedHeaders(t *testing.T) {
	data, want := fullFile(t)
	for _, page := range livePages(t, data) {
		for at := range headerSize + 2*elementSize {
			for _, mask := range []byte{1 << (at % 8), 0xff} {
				damaged := bytes.Clone(data)
				damaged[page*pageSize+at] ^= mask
				st, err := testKind.parse(damaged)
				if err == nil && !maps.Equal(st.records, want.records) {
					t.Errorf("page %d, byte %d, mask %x: accepted with another content", page, at, mask)
				}
			}
		}
	}
}

// Damage to either meta page must not bring back the state before the last
// change.
func TestDamagedMeta(t *testing.T) {
	data, want := fullFile(t)
	for page := range 2 {
		for _, size := range []int{1, 64, 512, pageSize} {
			damaged := bytes.Clone(data)
			at := page*pageSize + headerSize
			clear(damaged[at : at+min(size, pageSize-headerSize)])
			if refusedOrSame(t, fmt.Sprintf("meta %d, %d bytes", page, size), damaged, want) {
				t.Errorf("meta %d, %d bytes: refused, though the other one is whole", page, size)
			}
		}
	}
	clear(data[:2*pageSize])
	if !refusedOrSame(t, "both metas", data, want) {
		t.Error("both metas gone: accepted")
	}
}

func TestTruncated(t *testing.T) {
	data, want := fullFile(t)
	last := 0
	for _, page := range livePages(t, data) {
		last = max(last, page)
	}
	for page := range len(data) / pageSize {
		for _, size := range []int{page * pageSize, page*pageSize + 1, page*pageSize + pageSize/2} {
			refused := refusedOrSame(t, fmt.Sprintf("%d bytes", size), data[:size], want)
			if !refused && size < (last+1)*pageSize {
				t.Errorf("%d bytes: accepted, though page %d is in use", size, last)
			}
		}
	}
	for n := range 64 {
		if _, err := openBytes(t, data[:n]); !errors.Is(err, errDamaged) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestSwappedPages(t *testing.T) {
	data, want := fullFile(t)
	live := livePages(t, data)
	for i, a := range live {
		for _, b := range live[:i] {
			for _, fixNumbers := range []bool{false, true} {
				damaged := bytes.Clone(data)
				copy(damaged[a*pageSize:][:pageSize], data[b*pageSize:][:pageSize])
				copy(damaged[b*pageSize:][:pageSize], data[a*pageSize:][:pageSize])
				if fixNumbers { // each page says that it belongs where it lies
					copy(damaged[a*pageSize:][:8], data[a*pageSize:][:8])
					copy(damaged[b*pageSize:][:8], data[b*pageSize:][:8])
				}
				st, err := testKind.parse(damaged)
				if err == nil && !maps.Equal(st.records, want.records) {
					t.Errorf("pages %d and %d: accepted with another content", a, b)
				}
				if err == nil && a > 1 {
					t.Errorf("pages %d and %d: accepted", a, b)
				}
			}
		}
	}
}

// Content that bbolt finds in order, but that is not what the last change wrote.
func TestForeignContent(t *testing.T) {
	v := newVault(t)
	commit(t, v, usersBucket, "bob", "guest", usersBucket, "carl", "guest", keysBucket, "k", "of bob")
	right := v.now.total
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	get := func(tx *bolt.Tx, bucket, key string) []byte {
		return bytes.Clone(tx.Bucket([]byte(bucket)).Get([]byte(key)))
	}
	put := func(tx *bolt.Tx, bucket, key string, value []byte) error {
		return tx.Bucket([]byte(bucket)).Put([]byte(key), value)
	}
	about := func(tx *bolt.Tx, s total, version int) error {
		id, r := s.record(version)
		return put(tx, id.Bucket, id.Key, []byte(r))
	}
	sealed := func(tx *bolt.Tx, bucket, key, payload string) error {
		return put(tx, bucket, key, []byte(Seal(ID{bucket, key}, []byte(payload))))
	}
	for name, c := range map[string]struct {
		fn   func(*bolt.Tx) error
		want error
	}{
		"a record lost": {func(tx *bolt.Tx) error { return tx.Bucket([]byte(usersBucket)).Delete([]byte("carl")) }, errDamaged},
		"a bucket lost": {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(keysBucket)) }, errDamaged},
		"everything lost": {func(tx *bolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte(usersBucket)), tx.DeleteBucket([]byte(keysBucket)), tx.DeleteBucket([]byte(aboutBucket)))
		}, errDamaged},
		"all but the count": {func(tx *bolt.Tx) error {
			return errors.Join(tx.DeleteBucket([]byte(usersBucket)), tx.DeleteBucket([]byte(keysBucket)))
		}, errDamaged},
		"records swapped": {func(tx *bolt.Tx) error {
			b, c := get(tx, usersBucket, "bob"), get(tx, usersBucket, "anna")
			return errors.Join(put(tx, usersBucket, "bob", c), put(tx, usersBucket, "anna", b))
		}, errDamaged},
		"a record under another key":       {func(tx *bolt.Tx) error { return put(tx, usersBucket, "dora", get(tx, usersBucket, "bob")) }, errDamaged},
		"a record in another bucket":       {func(tx *bolt.Tx) error { return put(tx, keysBucket, "bob", get(tx, usersBucket, "bob")) }, errDamaged},
		"a whole record that nobody wrote": {func(tx *bolt.Tx) error { return sealed(tx, keysBucket, "x", "y") }, errDamaged},
		"a record from before":             {func(tx *bolt.Tx) error { return sealed(tx, usersBucket, "bob", "admin") }, errDamaged},
		"an empty record":                  {func(tx *bolt.Tx) error { return put(tx, usersBucket, "bob", nil) }, errDamaged},
		"a second record about":            {func(tx *bolt.Tx) error { return sealed(tx, aboutBucket, "more", "x") }, errDamaged},
		"a bucket that is not ours": {func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("more"))
			return errors.Join(err, sealed(tx, "more", "a", "b"))
		}, errDamaged},
		"a bucket in a bucket": {func(tx *bolt.Tx) error {
			_, err := tx.Bucket([]byte(usersBucket)).CreateBucket([]byte("more"))
			return err
		}, errDamaged},
		"no summary":                 {func(tx *bolt.Tx) error { return tx.Bucket([]byte(aboutBucket)).Delete([]byte(summaryKey)) }, errDamaged},
		"a summary that counts less": {func(tx *bolt.Tx) error { t := right; t.count--; return about(tx, t, 1) }, errDamaged},
		"a summary of other records": {func(tx *bolt.Tx) error { t := right; t.hash[7] ^= 1; return about(tx, t, 1) }, errDamaged},
		"a summary without a hash": {func(tx *bolt.Tx) error {
			return sealed(tx, aboutBucket, summaryKey, `{"version":1,"generation":1,"count":4}`)
		}, errDamaged},
		"a summary without a version":       {func(tx *bolt.Tx) error { return about(tx, right, 0) }, errDamaged},
		"a later version":                   {func(tx *bolt.Tx) error { return about(tx, right, 2) }, errNewer},
		"a later version with later fields": {func(tx *bolt.Tx) error { return sealed(tx, aboutBucket, summaryKey, `{"version":2,"tree":[1,2]}`) }, errNewer},
	} {
		data, err := os.ReadFile(v.path)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "vault.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, options(os.OpenFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(c.fn), db.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := Open(path, testKind, accept)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			again.Close()
		}
	}
}

func TestOtherFiles(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	empty, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"an empty file":        {},
		"one byte":             {0},
		"zeros":                make([]byte, 32<<10),
		"text":                 []byte(strings.Repeat("users: []\n", 10_000)),
		"random bytes":         randomBytes(64 << 10),
		"a database of others": empty,
	} {
		if _, err := openBytes(t, data); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func TestOpenRefuses(t *testing.T) {
	data, _ := fullFile(t)
	write := func(t *testing.T, mode fs.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "vault.db")
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	refuses := func(name string, want error, path, hint string) {
		t.Helper()
		s, err := Open(path, testKind, accept)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
	missing := filepath.Join(t.TempDir(), "vault.db")
	refuses("missing", fs.ErrNotExist, missing, "restore a backup, or run init")
	if _, err := os.Lstat(missing); err == nil {
		t.Error("Open made a file")
	}
	refuses("a directory", errLoose, t.TempDir(), "not a regular file")
	if runtime.GOOS == "windows" {
		return
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o666, 0o601} {
		path := write(t, mode)
		refuses(mode.String(), errLoose, path, "chmod 600 "+path)
	}
	for _, mode := range []fs.FileMode{0o770, 0o702, 0o777} {
		path := write(t, 0o600)
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		refuses("directory "+mode.String(), errLoose, path, "chmod 700 "+filepath.Dir(path))
		if err := Create(path+".new", testKind, nil); !errors.Is(err, errLoose) {
			t.Errorf("Create in a directory %s: %v", mode, err)
		}
		if _, err := os.Lstat(path + ".new"); err == nil {
			t.Error("Create made a file where others can replace it")
		}
	}
	link := filepath.Join(t.TempDir(), "vault.db")
	if err := os.Symlink(write(t, 0o600), link); err != nil {
		t.Fatal(err)
	}
	refuses("a symbolic link", errLoose, link, "not a regular file")
}

func TestInUse(t *testing.T) {
	v := newVault(t)
	if _, err := Open(v.path, testKind, accept); !errors.Is(err, errUsed) || !strings.Contains(err.Error(), "another daemon uses this directory") {
		t.Errorf("%v", err)
	}
	commit(t, v, usersBucket, "bob", "guest") // the first is not disturbed
	reopen(t, v)
}

// What the owner cannot load is refused like other damage, and not changed.
func TestLoadRefuses(t *testing.T) {
	v := newVault(t)
	v.Close()
	before, _ := os.ReadFile(v.path)
	bad := errors.New("no such role")
	if _, err := Open(v.path, testKind, func(map[ID]Record) error { return bad }); !errors.Is(err, errDamaged) || !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(v.path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	reopen(t, v) // and let go of
}

func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "vault.db")
	if err := Create(path, testKind, nil); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(path, testKind, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	v, err := Open(path, testKind, accept)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if len(v.Records()) != 0 {
		t.Error("a new file holds records")
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

// What this package reads without bbolt is what bbolt reads, and bbolt finds the
// file in order.
func TestPagesEqualBolt(t *testing.T) {
	data, want := fullFile(t)
	path := filepath.Join(t.TempDir(), "vault.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, options(os.OpenFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := make(map[ID]Record)
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.ForEach(func(bucket []byte, b *bolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				got[ID{string(bucket), string(key)}] = Record(value)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	id, r := want.total.record(testKind.Version)
	if got[id] != r {
		t.Error("another summary")
	}
	delete(got, id)
	if !maps.Equal(got, want.records) {
		t.Error("other records")
	}
	if live := livePages(t, data); len(live) < 20 {
		t.Errorf("only %d live pages: the file is too simple to test with", len(live))
	}
}

// FuzzParseFile overwrites two places of a file in use.
func FuzzParseFile(f *testing.F) {
	data, want := fullFile(f)
	live := livePages(f, data)
	f.Add(uint16(0), uint16(16), []byte{1, 2, 3}, uint16(1), uint16(24), []byte{0xff})
	f.Add(uint16(2), uint16(8), []byte{2, 0, 1, 0}, uint16(5), uint16(16), []byte{1, 0, 0, 0, 16})
	f.Fuzz(func(t *testing.T, page1, at1 uint16, patch1 []byte, page2, at2 uint16, patch2 []byte) {
		damaged := bytes.Clone(data)
		copy(damaged[live[int(page1)%len(live)]*pageSize+int(at1)%pageSize:], patch1)
		copy(damaged[live[int(page2)%len(live)]*pageSize+int(at2)%pageSize:], patch2)
		if st, err := testKind.parse(damaged); err == nil && !maps.Equal(st.records, want.records) {
			t.Error("accepted with another content")
		}
	})
}
