package pairing_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newStore(t testing.TB) *acl.Store {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), "state", "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newKey(t testing.TB) latchkey.Fingerprint {
	t.Helper()
	var b [latchkey.FingerprintSize]byte
	_, _ = rand.Read(b[:])
	key, err := latchkey.FingerprintFromBytes(b[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func local(t testing.TB) pairing.Peer { return pairing.Peer{Key: newKey(t), Local: true} }

func ask(user string) pairing.Request {
	return pairing.Request{Mode: pairing.LocalInitial, User: user, Name: "laptop"}
}

func newHost(store *acl.Store, m pairing.Modes) *pairing.Host {
	return pairing.NewHost(pairing.HostConfig{Store: store, Open: m})
}

// step posts one request on a new connection.
func step(h *pairing.Host, now time.Time, p pairing.Peer, r pairing.Request) (pairing.Reply, error) {
	text, err := r.Encode()
	if err != nil {
		text = fmt.Appendf(nil, `{"user":%q}`, r.User)
	}
	code, answer, err := h.Begin(p).Step(now, r.Mode, text)
	if err != nil {
		return pairing.Reply{}, err
	}
	return pairing.ReadReply(code, answer)
}

func addUser(t testing.TB, store *acl.Store, user, role string) latchkey.Fingerprint {
	t.Helper()
	key := newKey(t)
	err := store.Update(func(tx *acl.Tx) error {
		if err := tx.AddUser(acl.User{Name: user, Role: role, Added: start}); err != nil {
			return err
		}
		return tx.AddKey(acl.Key{Fingerprint: key, User: user, Added: start, Origin: "manual"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func users(t testing.TB, store *acl.Store) (list []acl.User) {
	t.Helper()
	if err := store.View(func(tx *acl.Tx) error { list = tx.Users(); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLocalInitial(t *testing.T) {
	store := newStore(t)
	host := newHost(store, pairing.LocalInitial)
	peer := local(t)
	if got := host.Status(start, peer); fmt.Sprint(got) != "{[local-initial] false true}" {
		t.Errorf("Status before = %v", got)
	}
	got, err := step(host, start, peer, ask("alice"))
	if want := (pairing.Reply{User: "alice", Role: "admin"}); err != nil || got != want {
		t.Fatalf("Step = %+v, %v; want %+v", got, err, want)
	}
	err = store.View(func(tx *acl.Tx) error {
		key, ok := tx.Key(peer.Key)
		if !ok || key.User != "alice" || key.Name != "laptop" || key.Origin != "local-initial" || !key.Added.Equal(start) {
			t.Errorf("stored key %+v, %v", key, ok)
		}
		if user, ok := tx.User("alice"); !ok || user.Role != "admin" || !user.Added.Equal(start) {
			t.Errorf("stored user %+v, %v", user, ok)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := host.Status(start, peer); fmt.Sprint(got) != "{[] true true}" {
		t.Errorf("Status after = %v", got)
	}
	if _, err := step(host, start, local(t), ask("bob")); !errors.Is(err, latchkey.ErrPairingClosed) {
		t.Errorf("the next peer: %v, want ErrPairingClosed", err)
	}
}

func TestStepRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		modes   pairing.Modes
		before  func(*acl.Store)
		peer    func(*pairing.Peer)
		request func(*pairing.Request)
		want    error
	}{
		{name: "closed", want: latchkey.ErrPairingClosed},
		{name: "closed and not local", peer: func(p *pairing.Peer) { p.Local = false }, want: latchkey.ErrPairingClosed},
		{name: "not local", modes: pairing.LocalInitial, peer: func(p *pairing.Peer) { p.Local = false }, want: latchkey.ErrNotLocal},
		{name: "name taken", modes: pairing.LocalInitial, before: func(s *acl.Store) { addUser(t, s, "Alice", "guest") }, want: latchkey.ErrConflict},
		{name: "owner added by hand", modes: pairing.LocalInitial, before: func(s *acl.Store) { addUser(t, s, "bob", "admin") }, want: latchkey.ErrPairingClosed},
		{name: "no key", modes: pairing.LocalInitial, peer: func(p *pairing.Peer) { p.Key = latchkey.Fingerprint{} }, want: latchkey.ErrInternal},
		{name: "no mode", modes: pairing.LocalInitial, request: func(r *pairing.Request) { r.Mode = 0 }, want: latchkey.ErrProtocol},
		{name: "unknown mode", modes: 0xff, request: func(r *pairing.Request) { r.Mode = 1 << 6 }, want: latchkey.ErrProtocol},
		{name: "bad name", modes: pairing.LocalInitial, request: func(r *pairing.Request) { r.User = "a/b" }, want: latchkey.ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := newStore(t)
			if tt.before != nil {
				tt.before(store)
			}
			before := len(users(t, store))
			peer, request := local(t), ask("alice")
			if tt.peer != nil {
				tt.peer(&peer)
			}
			if tt.request != nil {
				tt.request(&request)
			}
			got, err := step(newHost(store, tt.modes), start, peer, request)
			if !errors.Is(err, tt.want) || latchkey.CodeOf(err) != latchkey.CodeOf(tt.want) || got != (pairing.Reply{}) {
				t.Errorf("Step = %+v, %v; want %v", got, err, tt.want)
			}
			if after := len(users(t, store)); after != before {
				t.Errorf("%d users became %d", before, after)
			}
			if _, ok := store.Lookup(peer.Key); ok {
				t.Error("the key was added")
			}
		})
	}
}

// A key that is paired is told so: when everything is closed, from afar, and
// whatever name it asks for.
func TestAlreadyPaired(t *testing.T) {
	store := newStore(t)
	key := addUser(t, store, "carol", "guest")
	for _, modes := range []pairing.Modes{0, pairing.LocalInitial} {
		host := newHost(store, modes)
		got, err := step(host, start, pairing.Peer{Key: key}, ask("mallory"))
		if want := (pairing.Reply{User: "carol", Role: "guest", Already: true}); err != nil || got != want {
			t.Errorf("modes %v: Step = %+v, %v; want %+v", modes, got, err, want)
		}
		if host.Modes(start) != modes {
			t.Errorf("modes %v became %v", modes, host.Modes(start))
		}
	}
}

func TestUsedUpAcrossRestarts(t *testing.T) {
	store := newStore(t)
	peer := local(t)
	if _, err := step(newHost(store, pairing.LocalInitial), start, peer, ask("alice")); err != nil {
		t.Fatal(err)
	}
	refused := func(when string, host *pairing.Host) {
		t.Helper()
		if got := host.Modes(start); got != 0 {
			t.Errorf("%s: modes %v are open", when, got)
		}
		if _, err := step(host, start, local(t), ask("bob")); !errors.Is(err, latchkey.ErrPairingClosed) {
			t.Errorf("%s: Step = %v, want ErrPairingClosed", when, err)
		}
	}
	refused("after a restart", newHost(store, pairing.LocalInitial))
	host := newHost(store, pairing.LocalInitial)
	if err := host.Open(pairing.LocalInitial, time.Time{}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("Open beside an owner = %v, want ErrConflict", err)
	}
	refused("after a refused Open", host)

	removeUser(t, store, "alice")
	refused("after the owner was removed", newHost(store, pairing.LocalInitial))

	host = newHost(store, 0)
	if err := host.Open(pairing.LocalInitial, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := step(host, start, local(t), ask("dora")); err != nil {
		t.Errorf("after it was opened by hand: %v", err)
	}
	removeUser(t, store, "dora")
	refused("after it was used up again", host)
}

func removeUser(t *testing.T, store *acl.Store, user string) {
	t.Helper()
	err := store.Update(func(tx *acl.Tx) error {
		tx.Force()
		return tx.RemoveUser(user)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeadlines(t *testing.T) {
	store := newStore(t)
	host := newHost(store, 0)
	if err := host.Open(pairing.LocalInitial, start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  pairing.Modes
	}{
		{-time.Hour, pairing.LocalInitial},
		{time.Minute - 1, pairing.LocalInitial},
		{time.Minute, 0},
		{time.Hour, 0},
	} {
		if got := host.Modes(start.Add(tt.after)); got != tt.want {
			t.Errorf("after %v: modes %v, want %v", tt.after, got, tt.want)
		}
	}
	if _, err := step(host, start.Add(time.Minute), local(t), ask("alice")); !errors.Is(err, latchkey.ErrPairingClosed) {
		t.Errorf("at the deadline: %v, want ErrPairingClosed", err)
	}
	if _, err := step(host, start.Add(time.Minute-1), local(t), ask("alice")); err != nil {
		t.Errorf("just before it: %v", err)
	}
}

func TestOpenAndClose(t *testing.T) {
	host := newHost(newStore(t), pairing.LocalInitial)
	host.Close(pairing.LocalInitial)
	if got := host.Modes(start); got != 0 {
		t.Errorf("closed: modes %v", got)
	}
	if err := host.Open(1<<6|pairing.LocalInitial, time.Time{}); err == nil {
		t.Error("an unknown mode was opened")
	}
	if got := host.Modes(start); got != 0 {
		t.Errorf("after a refused Open: modes %v", got)
	}
	if err := host.Open(pairing.LocalInitial, time.Time{}); err != nil || host.Modes(start) != pairing.LocalInitial {
		t.Errorf("opened: %v, modes %v", err, host.Modes(start))
	}
	if got := newHost(newStore(t), 0xff).Modes(start); got != pairing.LocalInitial|pairing.LocalOpen {
		t.Errorf("unknown bits in the configuration: modes %v", got)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	store, err := acl.Create(filepath.Join(t.TempDir(), "state", "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	host := newHost(store, pairing.LocalInitial)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := host.Modes(start); got != 0 {
		t.Errorf("modes %v are open", got)
	}
	if _, err := step(host, start, local(t), ask("alice")); err == nil {
		t.Error("a peer was paired")
	}
}

// Many peers, some of them asking twice, some under one name: one owner.
func TestRacedPairingsMakeOneOwner(t *testing.T) {
	for round := range raceRounds {
		race(t, round)
		if t.Failed() {
			return
		}
	}
}

func race(t *testing.T, round int) {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), "state", "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	host := newHost(store, pairing.LocalInitial)
	const peers = 4
	var (
		group   sync.WaitGroup
		keys    [peers]latchkey.Fingerprint
		replies [2 * peers]pairing.Reply
		errs    [2 * peers]error
	)
	for i := range peers {
		keys[i] = newKey(t)
	}
	for i := range replies {
		group.Go(func() {
			name := fmt.Sprintf("user%d", i%peers*(round%2)) // in even rounds all ask for one name
			replies[i], errs[i] = step(host, start, pairing.Peer{Key: keys[i%peers], Local: true}, ask(name))
		})
	}
	group.Wait()
	list := users(t, store)
	if len(list) != 1 || list[0].Role != "admin" {
		t.Fatalf("round %d: users %+v, want one owner", round, list)
	}
	fresh := 0
	for i, reply := range replies {
		_, paired := store.Lookup(keys[i%peers])
		switch {
		case paired != (errs[i] == nil):
			t.Errorf("round %d: peer %d was told %+v, %v; its key being paired is %v", round, i, reply, errs[i], paired)
		case errs[i] != nil && !errors.Is(errs[i], latchkey.ErrPairingClosed):
			t.Errorf("round %d: peer %d lost with %v, want ErrPairingClosed", round, i, errs[i])
		case errs[i] == nil && !reply.Already:
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("round %d: %d peers were told that they are new", round, fresh)
	}
}
