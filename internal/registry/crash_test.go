package registry

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

const (
	kills = 30  // of a process that changes a registry
	flips = 300 // single bits turned over
)

var crashToken = [32]byte{1, 2, 3}

// changeForever adds devices, replaces the tokens of the first one and uses one of
// them, in turns, and reports each change on standard output once it was
// acknowledged.
func changeForever(path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	first := latchkey.DeviceID{Product: "acme", Device: "d0"}
	for n := changesIn(s); ; n++ {
		switch {
		case n%3 == 0:
			id := latchkey.DeviceID{Product: "acme", Device: fmt.Sprintf("d%d", n/3)}
			err = s.AddDevice(id, Key{Fingerprint: fingerprint(n), Added: noon})
		case n%3 == 1:
			_, err = s.ReplaceTokens(first, uint64(n/3+1), []Token{{Hash: crashToken, Uses: 1 << 20}, {Hash: [32]byte{9, byte(n), byte(n >> 8)}}})
		default:
			err = s.update(func(t *tx) error { t.count(grant{token: use{first, crashToken}}); return nil })
		}
		if err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// changesIn counts the changes that a registry has seen.
func changesIn(s *Store) int {
	first := latchkey.DeviceID{Product: "acme", Device: "d0"}
	return len(s.Devices()) + int(s.TokensVersion(first)) + s.now.Load().uses[use{first, crashToken}]
}

// TestKill kills a process in the middle of its changes, over and over on one
// file. The file always opens; what was acknowledged is there, and no more than
// one change that was not.
func TestKill(t *testing.T) {
	s := newStore(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for round := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", s.path)
		cmd.Env = append(os.Environ(), childMode+"=1")
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(random.IntN(10_000)) * time.Microsecond
		after, acknowledged := total+1+random.IntN(5), total
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if acknowledged == after {
				time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // it was killed
		if acknowledged < after {
			t.Fatalf("seed %d, round %d: the process ended by itself after %d changes", seed, round, acknowledged)
		}
		again, err := Open(s.path)
		if err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if total = changesIn(again); total != acknowledged && total != acknowledged+1 {
			t.Errorf("seed %d, round %d: %d changes are there, %d were acknowledged", seed, round, total, acknowledged)
		}
		again.Close()
	}
	t.Logf("%d changes in %d processes", total, kills)
}

// fullFile returns a registry with some of everything, and its file.
func fullFile(t testing.TB) (*state, []byte) {
	t.Helper()
	s := newStore(t)
	for n := range 60 {
		id := add(t, s, fmt.Sprintf("acme/gw%d", n), n)
		var list []Token
		for i := range n % 7 {
			list = append(list, Token{Hash: [32]byte{byte(n), byte(i), 1}, Uses: i, Key: fingerprint(i), Expires: noon})
		}
		replace(t, s, id, uint64(n+1), list...)
		s.Saw(id, noon)
	}
	for n := range 20 {
		if _, _, err := s.CreateToken(OperatorToken{Scope: Scope{Product: "acme"}, Uses: n, Note: "a note", Added: noon}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.update(func(tx *tx) error {
		tx.putUse(use{device(t, "acme/gw6"), [32]byte{6, 3, 1}}, 2)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDevice(device(t, "acme/gw7")); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	st := s.now.Load().state
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return st, data
}

// Bits turned over and ends cut off: the file is refused, or holds what it held.
func TestDamage(t *testing.T) {
	want, data := fullFile(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	check := func(what string, damaged []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "registry.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err == nil {
			defer s.Close()
			if !reflect.DeepEqual(s.now.Load().state, want) {
				t.Errorf("%s: accepted with another content", what)
			}
			return
		}
		refused++
		if after, _ := os.ReadFile(path); !errors.Is(err, ErrDamaged) || !bytes.Equal(after, damaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range flips {
		at, bit := random.IntN(len(data)), random.IntN(8)
		damaged := bytes.Clone(data)
		damaged[at] ^= 1 << bit
		check(fmt.Sprintf("seed %d: byte %d, bit %d", seed, at, bit), damaged)
	}
	for size := 0; size < len(data); size += 4096 {
		check(fmt.Sprintf("%d bytes", size), data[:size])
		check(fmt.Sprintf("%d bytes", size+100), data[:size+100])
	}
	if refused < flips/20 {
		t.Errorf("only %d were refused: they did not hit what counts", refused)
	}
	t.Logf("%d refused", refused)
}

// Records that are whole and still make no sense are refused.
func TestNonsense(t *testing.T) {
	gw1, key := `{"id":"acme/gw1","keys":[{"fingerprint":"`+fingerprint(1).String()+`","purpose":"operational","origin":"manual","state":"active","added":"2026-11-22T12:00:00Z"}],"added":"2026-11-22T12:00:00Z"}`, "acme/gw1"
	list := `{"id":"acme/gw1","version":1,"list":[{"hash":"` + fmt.Sprintf("%064x", 7) + `","uses":2}]}`
	var seven [32]byte
	seven[31] = 7
	operator := `{"id":"ab","scope":{"product":"acme"},"added":"2026-11-22T12:00:00Z","hash":"` + fmt.Sprintf("%064x", 7) + `"}`
	for name, c := range map[string]struct {
		records [][3]string
		ok      bool
	}{
		"in order":                 {[][3]string{{devicesBucket, key, gw1}, {tokensBucket, key, list}, {usesBucket, key + "\x00" + string(seven[:]), "1"}, {operatorBucket, "ab", operator}}, true},
		"a device elsewhere":       {[][3]string{{devicesBucket, "acme/gw2", gw1}}, false},
		"tokens of nobody":         {[][3]string{{tokensBucket, key, list}}, false},
		"tokens elsewhere":         {[][3]string{{devicesBucket, key, gw1}, {tokensBucket, "acme/gw2", list}}, false},
		"a count of nothing":       {[][3]string{{devicesBucket, key, gw1}, {usesBucket, key + "\x00" + string(seven[:]), "1"}}, false},
		"a count below one":        {[][3]string{{devicesBucket, key, gw1}, {tokensBucket, key, list}, {usesBucket, key + "\x00" + string(seven[:]), "0"}}, false},
		"a count of a short name":  {[][3]string{{devicesBucket, key, gw1}, {tokensBucket, key, list}, {usesBucket, key, "1"}}, false},
		"an operator's, elsewhere": {[][3]string{{operatorBucket, "cd", operator}}, false},
		"an operator's, twice":     {[][3]string{{operatorBucket, "ab", operator}, {operatorBucket, "cd", `{"id":"cd"` + operator[10:]}}, false},
		"an unknown field":         {[][3]string{{devicesBucket, key, `{"more":1,` + gw1[1:]}}, false},
		"no JSON":                  {[][3]string{{devicesBucket, key, "x"}}, false},
		"one key of two devices":   {[][3]string{{devicesBucket, key, gw1}, {devicesBucket, "acme/gw2", `{"id":"acme/gw2"` + gw1[16:]}}, false},
	} {
		records := make(map[vault.ID]vault.Record)
		for _, r := range c.records {
			id := vault.ID{Bucket: r[0], Key: r[1]}
			records[id] = vault.Seal(id, []byte(r[2]))
		}
		path := filepath.Join(t.TempDir(), "registry.db")
		if err := vault.Create(path, kind, records); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		}
	}
}

var errDisk = errors.New("input/output error")

// What could not be written was not promised. What was to be taken away is refused
// from the beginning of the attempt until it is taken away for good.
func TestCommitFails(t *testing.T) {
	s := newStore(t)
	gw1, gw2 := add(t, s, "acme/gw1", 1), add(t, s, "acme/gw2", 2)
	gone, narrowed, wider, once := latchkey.NewConnectToken(), latchkey.NewConnectToken(), latchkey.NewConnectToken(), latchkey.NewConnectToken()
	before := []Token{
		{Hash: gone.Hash().Sum()}, {Hash: narrowed.Hash().Sum()}, {Hash: once.Hash().Sum(), Uses: 1}, {Hash: wider.Hash().Sum(), Expires: noon.Add(time.Hour)},
	}
	after := []Token{{Hash: narrowed.Hash().Sum(), Expires: noon.Add(time.Hour)}, before[2], {Hash: wider.Hash().Sum(), Expires: noon.Add(2 * time.Hour)}}
	replace(t, s, gw1, 1, before...)
	made, theirs, err := s.CreateToken(OperatorToken{Scope: Scope{Product: "acme"}})
	if err != nil {
		t.Fatal(err)
	}
	client := fingerprint(9)
	redeems := func(what string, token latchkey.ConnectToken, want bool) {
		t.Helper()
		if err := s.Redeem(gw1, token.Hash(), client, noon); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	works := s.commit
	s.commit = func(map[vault.ID]vault.Record) error { return errDisk }
	if _, err := s.ReplaceTokens(gw1, 2, after); !errors.Is(err, errDisk) || s.Err() == nil {
		t.Errorf("ReplaceTokens: %v", err)
	}
	if v := s.TokensVersion(gw1); v != 1 {
		t.Errorf("version %d", v)
	}
	redeems("gone", gone, false)
	redeems("narrowed", narrowed, false)
	redeems("wider", wider, true)
	redeems("the only use, which could not be counted", once, false)
	if err := s.RemoveDevice(gw2); !errors.Is(err, errDisk) {
		t.Errorf("RemoveDevice: %v", err)
	}
	if _, ok := s.ByKey(fingerprint(2)); ok {
		t.Error("the removed key may attach")
	}
	redeems("operator's", theirs, true)
	if err := s.RevokeToken(made.ID); !errors.Is(err, errDisk) || len(s.Tokens()) != 0 {
		t.Errorf("RevokeToken: %v", err)
	}
	redeems("operator's, revoked", theirs, false)
	if err := s.AddDevice(device(t, "acme/gw3"), Key{Fingerprint: fingerprint(3)}); !errors.Is(err, errDisk) {
		t.Errorf("AddDevice: %v", err)
	}
	if _, ok := s.ByKey(fingerprint(3)); ok {
		t.Error("the key that was not written may attach")
	}
	if err := s.AddDevice(gw2, Key{Fingerprint: fingerprint(2)}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("AddDevice of a key that is being removed: %v", err)
	}

	s.commit = works
	redeems("once, late", once, true)
	redeems("once, again", once, false)
	redeems("gone, after another change", gone, false)
	replace(t, s, gw1, 2, after...)
	redeems("narrowed for good", narrowed, true)
	if err := errors.Join(s.RemoveDevice(gw2), s.RevokeToken(made.ID), s.Err()); err != nil {
		t.Error(err)
	}
	if len(s.now.Load().held) != 0 {
		t.Errorf("still held: %v", s.now.Load().held)
	}
	add(t, s, "acme/gw2", 2)
	if _, ok := s.ByKey(fingerprint(2)); !ok {
		t.Error("the key that was added again may not attach")
	}
	s = reopen(t, s)
	redeems("gone, after a restart", gone, false)
	redeems("once, after a restart", once, false)
}

// What is taken away is refused while the disk is still busy.
func TestRemovalHoldsAtOnce(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	bearer := latchkey.NewConnectToken()
	replace(t, s, gw1, 1, Token{Hash: bearer.Hash().Sum()})
	works := s.commit
	s.commit = func(c map[vault.ID]vault.Record) error {
		if _, ok := s.ByKey(fingerprint(1)); ok {
			t.Error("the key is still found")
		}
		if d, ok := s.Device(gw1); !ok || len(d.Keys) != 0 {
			t.Error("the key is still shown")
		}
		if err := s.Redeem(gw1, bearer.Hash(), fingerprint(5), noon); !errors.Is(err, ErrNoToken) {
			t.Errorf("the token: %v", err)
		}
		return works(c)
	}
	if err := s.RemoveDevice(gw1); err != nil {
		t.Fatal(err)
	}
}

// A panic in one change says no to all that were to be written with it, and the
// registry goes on.
func TestPanic(t *testing.T) {
	s := newStore(t)
	func() {
		defer func() { _ = recover() }()
		_ = s.update(func(t *tx) error {
			t.putDevice(&Device{ID: latchkey.DeviceID{Product: "acme", Device: "gw1"}, Keys: []Key{{Fingerprint: fingerprint(1)}}})
			panic("a test")
		})
		t.Error("the panic was swallowed")
	}()
	if _, ok := s.ByKey(fingerprint(1)); ok {
		t.Error("half a change is in force")
	}
	add(t, s, "acme/gw2", 2)
	if n := len(reopen(t, s).Devices()); n != 1 {
		t.Errorf("%d devices", n)
	}
}
