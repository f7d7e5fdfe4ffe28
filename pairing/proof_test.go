package pairing_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

var (
	gw1    = latchkey.DeviceID{Product: "acme", Device: "gw1"}
	secret = latchkey.NewSecret("correct horse")
	wrong  = latchkey.NewSecret("wrong horse!")
)

// A house is a device with a store that can be opened anew.
type house struct {
	t     testing.TB
	path  string
	key   latchkey.Fingerprint
	open  pairing.Modes // by configuration
	store *acl.Store
	*pairing.Host

	mu     sync.Mutex
	events []acl.Event
}

func newHouse(t testing.TB, open pairing.Modes) *house {
	t.Helper()
	h := &house{t: t, path: filepath.Join(t.TempDir(), "state", "access.db"), key: newKey(t), open: open}
	store, err := acl.Create(h.path)
	if err != nil {
		t.Fatal(err)
	}
	h.begin(store)
	t.Cleanup(func() { _ = h.store.Close() })
	return h
}

func (h *house) begin(store *acl.Store) {
	h.store = store
	h.Host = pairing.NewHost(pairing.HostConfig{
		Store: store, Open: h.open, Device: gw1, Key: h.key,
		Event: func(e acl.Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
		},
	})
	pairing.CheapCosts(h.Host)
}

// restart is what a crash leaves: the file, and nothing in memory.
func (h *house) restart() {
	h.t.Helper()
	if err := h.store.Close(); err != nil {
		h.t.Fatal(err)
	}
	store, err := acl.Open(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.begin(store)
}

func (h *house) setPassword(p latchkey.Secret) {
	h.t.Helper()
	if err := h.SetPassword(p); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) invite(r pairing.InviteRequest) pairing.Invitation {
	h.t.Helper()
	in, err := h.Invite(start, r)
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

func (h *house) invitation(id string) (i acl.Invite, ok bool) {
	h.t.Helper()
	if err := h.store.View(func(tx *acl.Tx) error { i, ok = tx.Invite(id); return nil }); err != nil {
		h.t.Fatal(err)
	}
	return i, ok
}

func (h *house) user(name string) (u acl.User, ok bool) {
	h.t.Helper()
	if err := h.store.View(func(tx *acl.Tx) error { u, ok = tx.User(name); return nil }); err != nil {
		h.t.Fatal(err)
	}
	return u, ok
}

// generation changes with every change of the store.
func (h *house) generation() (n uint64) {
	h.t.Helper()
	if err := h.store.View(func(tx *acl.Tx) error { n = tx.Generation(); return nil }); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// A visit is both ends of one connection.
type visit struct {
	peer     pairing.Peer
	exchange *pairing.Exchange
	config   pairing.ProverConfig
}

// visit connects a new key from an address of its own.
func (h *house) visit(r pairing.Request, p latchkey.Secret) *visit {
	binding := []byte(strings.Repeat("b", pairing.BindingSize))
	peer := pairing.Peer{Key: newKey(h.t), Source: someAddr(h.t), Binding: binding}
	return &visit{peer, h.Begin(peer), pairing.ProverConfig{
		Request: r, Password: p, Client: peer.Key, Device: h.key, ID: gw1, Binding: binding,
	}}
}

// someAddr returns an address that no other has in common more than the world.
func someAddr(t testing.TB) netip.Addr {
	b := newKey(t).Bytes()
	return netip.AddrFrom16([16]byte(append([]byte{0x20, 1}, b[:14]...)))
}

func (h *house) from(v *visit, addr netip.Addr) *visit {
	v.peer.Source = addr
	v.exchange = h.Begin(v.peer)
	return v
}

// pair goes through all steps.
func (v *visit) pair(now time.Time) (pairing.Reply, error) { return v.until(now, 10) }

// until goes through so many steps of the device at most.
func (v *visit) until(now time.Time, steps int) (pairing.Reply, error) {
	p := pairing.NewProver(v.config)
	body, done, err := p.Next(0, nil)
	for range steps {
		if err != nil || done != nil {
			break
		}
		var code uint8
		var answer []byte
		if code, answer, err = v.exchange.Step(now, v.config.Request.Mode, body); err != nil {
			return pairing.Reply{}, err
		}
		body, done, err = p.Next(code, answer)
	}
	if err != nil || done == nil {
		return pairing.Reply{}, err
	}
	return *done, nil
}

// guess goes on although the device's confirmation does not fit, as somebody
// who guesses would.
func (v *visit) guess(now time.Time) error {
	if _, err := v.until(now, 2); !errors.Is(err, latchkey.ErrWrongPassword) {
		return err
	}
	body, _ := json.Marshal(map[string]string{"confirm": strings.Repeat("A", 43)})
	_, _, err := v.exchange.Step(now, v.config.Request.Mode, body)
	return err
}

func byPassword(user string) pairing.Request {
	return pairing.Request{Mode: pairing.PasswordOpen, User: user, Name: "phone"}
}

func byInvite(id string) pairing.Request {
	return pairing.Request{Mode: pairing.Invite, Name: "phone", Invite: id}
}

func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || latchkey.CodeOf(err) != latchkey.CodeOf(want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestPasswordOpen(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	if got := h.Modes(start); got != 0 {
		t.Errorf("without a password: modes %v", got)
	}
	h.setPassword(secret)
	if got := h.ModesFor(start, false); got != pairing.PasswordOpen {
		t.Errorf("ModesFor = %v", got)
	}
	v := h.visit(byPassword("bob"), secret)
	got, err := v.pair(start)
	if want := (pairing.Reply{User: "bob", Role: "guest", Proved: true}); err != nil || got != want {
		t.Fatalf("pair = %+v, %v; want %+v", got, err, want)
	}
	_ = h.store.View(func(tx *acl.Tx) error {
		key, ok := tx.Key(v.peer.Key)
		if !ok || key.User != "bob" || key.Name != "phone" || key.Origin != "password-open" || !key.Added.Equal(start) {
			t.Errorf("stored key %+v, %v", key, ok)
		}
		return nil
	})
	// Once more, on the same connection and on another, with any password.
	for _, again := range []*visit{v, {v.peer, h.Begin(v.peer), v.config}} {
		again.config.Password = wrong
		got, err := again.pair(start)
		if want := (pairing.Reply{User: "bob", Role: "guest", Already: true}); err != nil || got != want {
			t.Errorf("again: %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := h.visit(byPassword("carol"), secret).pair(start); err != nil {
		t.Errorf("the mode did not stay open: %v", err)
	}
}

func TestLocalOpen(t *testing.T) {
	h := newHouse(t, pairing.LocalOpen)
	for _, name := range []string{"bob", "carol"} {
		got, err := step(h.Host, start, local(t), pairing.Request{Mode: pairing.LocalOpen, User: name})
		if want := (pairing.Reply{User: name, Role: "guest"}); err != nil || got != want {
			t.Errorf("pair = %+v, %v; want %+v", got, err, want)
		}
	}
	_, err := step(h.Host, start, pairing.Peer{Key: newKey(t)}, pairing.Request{Mode: pairing.LocalOpen, User: "dora"})
	refused(t, "from afar", err, latchkey.ErrNotLocal)
	_, err = step(h.Host, start, local(t), pairing.Request{Mode: pairing.LocalOpen, User: "BOB"})
	refused(t, "a name that is taken", err, latchkey.ErrConflict)
	if got, want := h.ModesFor(start, false), pairing.Modes(0); got != want {
		t.Errorf("modes from afar: %v", got)
	}
	if got, want := h.ModesFor(start, true), pairing.LocalOpen; got != want {
		t.Errorf("modes from here: %v", got)
	}
}

func TestInvite(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	if got := h.Modes(start); got != 0 {
		t.Errorf("without an invitation: modes %v", got)
	}
	in := h.invite(pairing.InviteRequest{User: "bob", Role: acl.RoleUser, By: "alice", Expires: start.Add(time.Hour)})
	if got := h.ModesFor(start, false); got != pairing.Invite {
		t.Errorf("ModesFor = %v", got)
	}
	if got := h.Modes(start.Add(time.Hour)); got != 0 {
		t.Errorf("after it expired: modes %v", got)
	}
	if kept, ok := h.invitation(in.ID); !ok || kept.User != "bob" || kept.Role != "user" || kept.By != "alice" || !kept.Expires.Equal(in.Expires) {
		t.Errorf("kept %+v, %v", kept, ok)
	}
	got, err := h.visit(byInvite(in.ID), in.Password).pair(start)
	if want := (pairing.Reply{User: "bob", Role: "user", Proved: true}); err != nil || got != want {
		t.Fatalf("pair = %+v, %v; want %+v", got, err, want)
	}
	_, err = h.visit(byInvite(in.ID), in.Password).pair(start)
	refused(t, "used twice", err, latchkey.ErrPairingClosed)
	if err := h.store.Update(func(tx *acl.Tx) error { return tx.RemoveUser("bob") }); err != nil {
		t.Fatal(err)
	}
	_, err = h.visit(byInvite(in.ID), in.Password).pair(start)
	refused(t, "after its user was removed", err, latchkey.ErrPairingClosed)
}

func TestInviteRefusesToBeMade(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	addUser(t, h.store, "Bob", "guest")
	for name, r := range map[string]pairing.InviteRequest{
		"no name":  {Role: "guest"},
		"bad name": {User: "a/b", Role: "guest"},
		"there":    {User: "bob", Role: "guest"},
		"no role":  {User: "carol"},
		"unknown":  {User: "carol", Role: "nobody"},
		"unpaired": {User: "carol", Role: acl.RoleUnpaired},
		"too late": {User: "carol", Role: "guest", Expires: start},
	} {
		if in, err := h.Invite(start, r); err == nil || in != (pairing.Invitation{}) {
			t.Errorf("%s: Invite = %+v, %v", name, in, err)
		}
	}
	if _, err := h.Invite(start, pairing.InviteRequest{User: "BOB", Role: "guest"}); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("Invite of a user = %v, want ErrConflict", err)
	}
	if _, err := h.Invite(time.Time{}, pairing.InviteRequest{User: "carol", Role: "guest", Expires: start}); err == nil {
		t.Error("an invitation that expires was made without a clock")
	}
	if _, err := newHost(h.store, pairing.Invite).Invite(start, pairing.InviteRequest{User: "carol", Role: "guest"}); err == nil {
		t.Error("a host without a key invites")
	}
}

// An invitation says who its holder becomes; who asks to be somebody else is told
// only after the proof, and may come back.
func TestInviteNames(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	in := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
	other := byInvite(in.ID)
	other.User = "eve"
	_, err := h.visit(other, in.Password).pair(start)
	refused(t, "another name", err, latchkey.ErrConflict)
	if _, ok := h.user("eve"); ok {
		t.Error("eve is a user")
	}
	own := byInvite(in.ID)
	own.User = "bob"
	if got, err := h.visit(own, in.Password).pair(start); err != nil || got.User != "bob" {
		t.Errorf("its own name: %+v, %v", got, err)
	}
	in = h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	addUser(t, h.store, "Carol", "guest")
	_, err = h.visit(byInvite(in.ID), in.Password).pair(start)
	refused(t, "a name that was taken since", err, latchkey.ErrConflict)
	if kept, ok := h.invitation(in.ID); !ok || kept.Failures != 0 {
		t.Errorf("kept %+v, %v; want it whole", kept, ok)
	}
}

// Somebody who came in by an invitation to own the device was the first.
func TestInvitedOwner(t *testing.T) {
	h := newHouse(t, pairing.Invite|pairing.LocalInitial)
	in := h.invite(pairing.InviteRequest{User: "alice", Role: acl.RoleAdmin})
	if _, err := h.visit(byInvite(in.ID), in.Password).pair(start); err != nil {
		t.Fatal(err)
	}
	removeUser(t, h.store, "alice")
	_, err := step(h.Host, start, local(t), ask("mallory"))
	refused(t, "local-initial afterwards", err, latchkey.ErrPairingClosed)
}

func TestPasswords(t *testing.T) {
	h := newHouse(t, 0)
	if err := h.Open(pairing.PasswordOpen, time.Time{}); !errors.Is(err, pairing.ErrNoPassword) {
		t.Errorf("Open without a password = %v, want ErrNoPassword", err)
	}
	for _, text := range []string{"short", strings.Repeat("x", pairing.MaxPassword+1)} {
		if err := h.SetPassword(latchkey.NewSecret(text)); err == nil {
			t.Errorf("a password of %d bytes was accepted", len(text))
		}
	}
	h.setPassword(secret)
	if err := h.Open(pairing.PasswordOpen, time.Time{}); err != nil || h.Modes(start) != pairing.PasswordOpen {
		t.Errorf("Open = %v, modes %v", err, h.Modes(start))
	}
	h.setPassword(latchkey.Secret{})
	if got := h.Modes(start); got != 0 {
		t.Errorf("after the password was taken away: modes %v", got)
	}
	list := h.Openings(start)
	if len(list) != 1 || !list[0].ByHand || !errors.Is(list[0].Blocked, pairing.ErrNoPassword) {
		t.Errorf("Openings = %+v", list)
	}
	h.setPassword(secret)
	other := pairing.NewHost(pairing.HostConfig{Store: h.store, Open: pairing.PasswordOpen, Device: latchkey.DeviceID{Product: "acme", Device: "gw2"}, Key: h.key})
	if got := other.Modes(start); got != 0 {
		t.Errorf("a device of another id: modes %v", got)
	}
	seen := map[string]bool{}
	for range 100 {
		p := pairing.NewPassword().Reveal()
		if seen[p] || len(p) != 19 || strings.Trim(p, "0123456789abcdefghjkmnpqrstvwxyz-") != "" {
			t.Errorf("NewPassword = %q", p)
		}
		seen[p] = true
	}
}

func TestReset(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.LocalInitial)
	h.setPassword(secret)
	_ = h.visit(byPassword("eve"), wrong).guess(start)
	if _, err := step(h.Host, start, local(t), ask("alice")); err != nil {
		t.Fatal(err)
	}
	err := h.store.Update(func(tx *acl.Tx) error {
		tx.Force()
		if err := tx.RemoveUser("alice"); err != nil {
			return err
		}
		return pairing.Reset(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	h.restart()
	if got := h.Modes(start); got != pairing.LocalInitial {
		t.Errorf("modes %v, want local-initial", got)
	}
}
