package registry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func fingerprint(n int) latchkey.Fingerprint {
	sum := sha256.Sum256(fmt.Append(nil, n))
	fp, err := latchkey.FingerprintFromBytes(sum[:])
	if err != nil {
		panic(err)
	}
	return fp
}

func device(t testing.TB, id string) latchkey.DeviceID {
	t.Helper()
	d, err := latchkey.ParseDeviceID(id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reopen closes a registry and opens its file again.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func add(t testing.TB, s *Store, id string, n int) latchkey.DeviceID {
	t.Helper()
	d := device(t, id)
	if err := s.AddDevice(d, Key{Fingerprint: fingerprint(n), Added: noon}); err != nil {
		t.Fatal(err)
	}
	return d
}

func replace(t testing.TB, s *Store, id latchkey.DeviceID, version uint64, tokens ...Token) {
	t.Helper()
	if _, err := s.ReplaceTokens(id, version, tokens); err != nil {
		t.Fatal(err)
	}
}

func TestDevices(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	other := device(t, "zeta/gw1")
	if err := s.AddDevice(other, Key{Fingerprint: fingerprint(1)}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("the key of another product's device: %v", err)
	}
	if _, ok := s.Device(other); ok {
		t.Error("the refused device is there")
	}
	add(t, s, "acme/gw1", 1) // again: fine
	add(t, s, "acme/gw1", 2)
	if err := s.AddDevice(gw1, Key{Fingerprint: fingerprint(3), State: "suspended", Added: noon}); err != nil {
		t.Fatal(err)
	}
	s.Saw(gw1, noon.Add(time.Hour))
	s.Saw(other, noon)
	for range 2 {
		d, ok := s.ByKey(fingerprint(2))
		if !ok || d.ID != gw1 || len(d.Keys) != 3 || !d.Seen.Equal(noon.Add(time.Hour)) || !d.Added.Equal(noon) {
			t.Errorf("ByKey returns %+v, %t", d, ok)
		}
		if k := d.Keys[0]; k.Purpose != Operational || k.Origin != Manual || k.State != Active {
			t.Errorf("the key is %+v", k)
		}
		if _, ok := s.ByKey(fingerprint(3)); ok {
			t.Error("a key that is not active was found")
		}
		if _, ok := s.ByKey(latchkey.Fingerprint{}); ok {
			t.Error("the key of nobody was found")
		}
		s = reopen(t, s)
	}
	add(t, s, "acme/gw0", 9)
	ids := s.Devices()
	if len(ids) != 2 || ids[0].ID.Device != "gw0" {
		t.Errorf("Devices returns %+v", ids)
	}
	replace(t, s, gw1, 4, Token{Hash: [32]byte{1}})
	if err := s.RemoveDevice(gw1); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDevice(gw1); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	s = reopen(t, s)
	if _, ok := s.ByKey(fingerprint(1)); ok || s.TokensVersion(gw1) != 0 || s.now.Load().tokens != 0 {
		t.Error("something of the removed device is left")
	}
	add(t, s, "zeta/gw1", 1) // now it is free
}

func TestDeviceRefused(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 0)
	for i := 1; i < MaxKeys; i++ {
		add(t, s, "acme/gw1", i)
	}
	if err := s.AddDevice(gw1, Key{Fingerprint: fingerprint(100)}); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("a key more: %v", err)
	}
	for name, err := range map[string]error{
		"no fingerprint": s.AddDevice(gw1, Key{}),
		"no id":          s.AddDevice(latchkey.DeviceID{Product: "A", Device: "b"}, Key{Fingerprint: fingerprint(7)}),
		"a far year":     s.AddDevice(device(t, "acme/gw2"), Key{Fingerprint: fingerprint(77), Added: noon.AddDate(9000, 0, 0)}),
		"a long word":    s.AddDevice(device(t, "acme/gw2"), Key{Fingerprint: fingerprint(77), Origin: "0123456789012345678901234567890123456789"}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	reopen(t, s)
}

func TestReplaceTokens(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	a, b := latchkey.NewConnectToken(), latchkey.NewConnectToken()
	ta := Token{Hash: a.Hash().Sum(), Uses: 2}
	tb := Token{Hash: b.Hash().Sum(), Key: fingerprint(5), Expires: noon.Add(time.Hour)}
	replace(t, s, gw1, 3, ta, tb)
	replace(t, s, gw1, 3, tb, ta) // the answer was lost
	if v, err := s.ReplaceTokens(gw1, 3, []Token{ta}); !errors.Is(err, latchkey.ErrConflict) || v != 3 {
		t.Errorf("another list of the same version: %d, %v", v, err)
	}
	if v, err := s.ReplaceTokens(gw1, 2, []Token{ta}); !errors.Is(err, latchkey.ErrConflict) || v != 3 {
		t.Errorf("an earlier version: %d, %v", v, err)
	}
	if _, err := s.ReplaceTokens(device(t, "acme/gw2"), 1, nil); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("an unknown device: %v", err)
	}
	for name, list := range map[string][]Token{
		"twice": {ta, ta}, "no hash": {{}}, "negative": {{Hash: [32]byte{1}, Uses: -1}},
		"a far year": {{Hash: [32]byte{1}, Expires: noon.AddDate(9000, 0, 0)}},
	} {
		if _, err := s.ReplaceTokens(gw1, 9, list); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.ReplaceTokens(gw1, 9, make([]Token, MaxTokens+1)); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
	client := fingerprint(9)
	if err := s.Redeem(gw1, a.Hash(), client, noon); err != nil {
		t.Fatal(err)
	}
	replace(t, s, gw1, 4, ta) // b is gone, a keeps its count
	s = reopen(t, s)
	if v := s.TokensVersion(gw1); v != 4 {
		t.Errorf("version %d", v)
	}
	if err := s.Redeem(gw1, b.Hash(), fingerprint(5), noon); !errors.Is(err, ErrNoToken) {
		t.Errorf("a token that was withdrawn: %v", err)
	}
	if err := s.Redeem(gw1, a.Hash(), client, noon); err != nil {
		t.Error(err)
	}
	if err := s.Redeem(gw1, a.Hash(), client, noon); !errors.Is(err, ErrUsedUp) {
		t.Errorf("a third use: %v", err)
	}
	replace(t, s, gw1, 5, Token{Hash: a.Hash().Sum()}) // without limit from now on
	for range 4 {
		if err := s.Redeem(gw1, a.Hash(), client, noon); err != nil {
			t.Error(err)
		}
	}
	s = reopen(t, s)
	if n := len(s.now.Load().uses); n != 0 {
		t.Errorf("%d counts are left", n)
	}
}

// TestSameTokens writes nothing for an upload that changes nothing but the
// version, which counts as long as the registry is open.
func TestSameTokens(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	token := Token{Hash: latchkey.NewConnectToken().Hash().Sum(), Expires: noon.Add(time.Hour)}
	replace(t, s, gw1, 3, token)
	before := s.vault.Generation()
	replace(t, s, gw1, 5, token)
	if n := s.vault.Generation() - before; n != 0 || s.TokensVersion(gw1) != 5 {
		t.Errorf("%d commits, version %d", n, s.TokensVersion(gw1))
	}
	for _, list := range [][]Token{{token}, nil} {
		if v, err := s.ReplaceTokens(gw1, 4, list); !errors.Is(err, latchkey.ErrConflict) || v != 5 {
			t.Errorf("an earlier version: %d, %v", v, err)
		}
	}
	replace(t, s, gw1, 8, token)
	if s = reopen(t, s); s.TokensVersion(gw1) != 3 {
		t.Errorf("version %d", s.TokensVersion(gw1))
	}
	replace(t, s, gw1, 9, token)
	if err := s.RemoveDevice(gw1); err != nil {
		t.Fatal(err)
	}
	add(t, s, "acme/gw1", 1)
	if v := s.TokensVersion(gw1); v != 0 {
		t.Errorf("version %d of a device that is new", v)
	}
	replace(t, s, gw1, 1, token)
}

func TestRedeem(t *testing.T) {
	s := newStore(t)
	gw1, gw2 := add(t, s, "acme/gw1", 1), add(t, s, "acme/gw2", 2)
	gw3 := add(t, s, "zeta/gw1", 3)
	client, thief := fingerprint(10), fingerprint(11)
	bound, bearer, dated := latchkey.NewConnectToken(), latchkey.NewConnectToken(), latchkey.NewConnectToken()
	replace(t, s, gw1, 1,
		Token{Hash: bound.Hash().Sum(), Key: client},
		Token{Hash: bearer.Hash().Sum()},
		Token{Hash: dated.Hash().Sum(), Expires: noon})
	operator := func(o OperatorToken) latchkey.ConnectToken {
		t.Helper()
		made, raw, err := s.CreateToken(o)
		if err != nil || made.ID == "" {
			t.Fatal(made, err)
		}
		return raw
	}
	product := operator(OperatorToken{Scope: Scope{Product: "acme"}, Added: noon, Note: "for the workshop"})
	single := operator(OperatorToken{Scope: Scope{Product: "acme", Device: "gw2"}, Key: client, Uses: 1, Expires: noon.Add(time.Minute)})
	missing := device(t, "acme/gw9")
	for range 2 {
		for _, c := range []struct {
			name   string
			id     latchkey.DeviceID
			token  latchkey.ConnectToken
			client latchkey.Fingerprint
			now    time.Time
			want   error
		}{
			{"bound", gw1, bound, client, noon, nil},
			{"bound, stolen", gw1, bound, thief, noon, ErrOtherKey},
			{"bound, nobody", gw1, bound, latchkey.Fingerprint{}, noon, ErrOtherKey},
			{"bound, at another device", gw2, bound, client, noon, ErrNoToken},
			{"bearer", gw1, bearer, thief, noon, nil},
			{"bearer, nobody", gw1, bearer, latchkey.Fingerprint{}, noon, ErrOtherKey},
			{"dated, just before", gw1, dated, client, noon.Add(-1), nil},
			{"dated, at its end", gw1, dated, client, noon, ErrExpired},
			{"unknown token", gw1, latchkey.NewConnectToken(), client, noon, ErrNoToken},
			{"no token", gw1, latchkey.ConnectToken{}, client, noon, ErrNoToken},
			{"product, one", gw1, product, client, noon, nil},
			{"product, another", gw2, product, thief, noon, nil},
			{"product, foreign", gw3, product, client, noon, ErrNoToken},
			{"product, unknown device", missing, product, client, noon, ErrNoToken},
			{"product, no device", latchkey.DeviceID{}, product, client, noon, ErrNoToken},
			{"single, foreign", gw3, single, client, noon, ErrNoToken},
			{"single, sibling", gw1, single, client, noon, ErrNoToken},
			{"single, stolen", gw2, single, thief, noon, ErrOtherKey},
			{"single, late", gw2, single, client, noon.Add(time.Hour), ErrExpired},
		} {
			if err := s.Redeem(c.id, c.token.Hash(), c.client, c.now); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			if c.want != nil && !errors.Is(c.want, latchkey.ErrForbidden) {
				t.Errorf("%s: the reason does not match ErrForbidden", c.name)
			}
		}
		s = reopen(t, s)
	}
	if err := s.Redeem(gw2, single.Hash(), client, noon); err != nil {
		t.Error(err)
	}
	s = reopen(t, s)
	if err := s.Redeem(gw2, single.Hash(), client, noon); !errors.Is(err, ErrUsedUp) {
		t.Errorf("single, again: %v", err)
	}
	list := s.Tokens()
	if len(list) != 2 || list[1].Note != "for the workshop" || list[0].Used != 1 {
		t.Errorf("Tokens returns %+v", list)
	}
	if err := s.RevokeToken(list[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Redeem(gw1, product.Hash(), client, noon); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked: %v", err)
	}
	if err := s.RevokeToken(list[1].ID); !errors.Is(err, latchkey.ErrNotFound) {
		t.Errorf("revoked again: %v", err)
	}
}

// However many ask at once, a token is used as often as it may be, also across a
// restart.
func TestRedeemConcurrently(t *testing.T) {
	const uses, callers = 10, 50
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	mine := latchkey.NewConnectToken()
	replace(t, s, gw1, 1, Token{Hash: mine.Hash().Sum(), Uses: uses})
	_, theirs, err := s.CreateToken(OperatorToken{Scope: Scope{Product: "acme"}, Uses: uses})
	if err != nil {
		t.Fatal(err)
	}
	var won [2]atomic.Int32
	for round := range 2 {
		var all sync.WaitGroup
		start := make(chan struct{})
		for caller := range callers {
			all.Go(func() {
				<-start
				for i, token := range []latchkey.ConnectToken{mine, theirs} {
					err := s.Redeem(gw1, token.Hash(), fingerprint(caller), noon)
					if err == nil {
						won[i].Add(1)
					} else if !errors.Is(err, ErrUsedUp) {
						t.Error(err)
					}
				}
			})
		}
		close(start)
		all.Wait()
		for i := range won {
			if n := won[i].Load(); n != uses {
				t.Errorf("round %d: token %d was used %d times", round, i, n)
			}
		}
		s = reopen(t, s)
	}
}

func TestScope(t *testing.T) {
	for text, want := range map[string]Scope{
		"acme/*": {Product: "acme"}, "acme/gw1": {"acme", "gw1"},
	} {
		got, err := ParseScope(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "*", "/*", "*/*", "*/gw1", "acme", "acme/", "acme/g*", "Acme/*", "acme/gw1/*", "acme/**"} {
		if got, err := ParseScope(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestCreateTokenRefuses(t *testing.T) {
	s := newStore(t)
	for name, o := range map[string]OperatorToken{
		"no scope":       {},
		"a wrong scope":  {Scope: Scope{Product: "*"}},
		"negative uses":  {Scope: Scope{Product: "acme"}, Uses: -1},
		"a long note":    {Scope: Scope{Product: "acme"}, Note: string(make([]byte, MaxNote+1))},
		"an escape note": {Scope: Scope{Product: "acme"}, Note: "\x1b[2J"},
	} {
		if made, raw, err := s.CreateToken(o); err == nil || made.ID != "" || !raw.IsZero() {
			t.Errorf("%s: %v, %v", name, made, err)
		}
	}
	if len(s.Tokens()) != 0 {
		t.Error("a refused token is there")
	}
}

func TestClosed(t *testing.T) {
	s := newStore(t)
	gw1 := add(t, s, "acme/gw1", 1)
	bearer := latchkey.NewConnectToken()
	replace(t, s, gw1, 1, Token{Hash: bearer.Hash().Sum()})
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.ByKey(fingerprint(1)); ok {
		t.Error("a key is known")
	}
	if err := s.Redeem(gw1, bearer.Hash(), fingerprint(2), noon); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("Redeem: %v", err)
	}
	if err := s.AddDevice(gw1, Key{Fingerprint: fingerprint(1)}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("AddDevice: %v", err)
	}
}

// Changes that wait together share their syncs.
func TestBatch(t *testing.T) {
	s := newStore(t)
	s.writing.Lock()
	var all sync.WaitGroup
	for n := range 100 {
		all.Go(func() {
			if err := s.AddDevice(latchkey.DeviceID{Product: "acme", Device: fmt.Sprintf("gw%d", n%50)}, Key{Fingerprint: fingerprint(n)}); err != nil {
				t.Error(err)
			}
		})
	}
	for queued := 0; queued < 100; {
		s.queueing.Lock()
		queued = len(s.queue)
		s.queueing.Unlock()
		runtime.Gosched()
	}
	before := s.vault.Generation()
	s.writing.Unlock()
	all.Wait()
	if n := s.vault.Generation() - before; n != 1 {
		t.Errorf("100 changes were written in %d commits", n)
	}
	s = reopen(t, s)
	if n := len(s.Devices()); n != 50 {
		t.Errorf("%d devices", n)
	}
	if slices.ContainsFunc(s.Devices(), func(d Device) bool { return len(d.Keys) != 2 }) {
		t.Error("a key is missing")
	}
}
