package pairing_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// guessed counts the guesses that were answered with a proof of right or wrong.
func guessed(errs []error) (n int) {
	for _, err := range errs {
		if errors.Is(err, latchkey.ErrWrongPassword) {
			n++
		}
	}
	return n
}

// Ten guesses are all that the device's password takes, from a thousand places
// and with as many keys, even if the device restarts after each.
func TestTenFailuresCloseForGood(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts %v", restarts), func(t *testing.T) {
			h := newHouse(t, pairing.PasswordOpen|pairing.LocalInitial)
			h.setPassword(secret)
			var errs []error
			tries := 1000
			if restarts {
				tries = 30
			}
			for range tries {
				errs = append(errs, h.visit(byPassword("eve"), wrong).guess(start))
				if restarts {
					h.restart()
				}
			}
			if n := guessed(errs); n != pairing.MaxFailures {
				t.Errorf("%d guesses were answered, want %d", n, pairing.MaxFailures)
			}
			_, err := h.visit(byPassword("bob"), secret).pair(start.Add(24 * time.Hour))
			refused(t, "the right password, a day later", err, latchkey.ErrPairingClosed)
			if got := h.Modes(start); got != pairing.LocalInitial {
				t.Errorf("modes %v; the local mode must stay open, and it alone", got)
			}
			h.Configure(pairing.PasswordOpen)
			if got := h.Modes(start); got != 0 {
				t.Errorf("the configuration opened it again: %v", got)
			}
			if err := h.Open(pairing.PasswordOpen, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.visit(byPassword("bob"), secret).pair(start); err != nil {
				t.Errorf("after the owner opened it again: %v", err)
			}
		})
	}
}

func TestFailuresOfOneSource(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	try := func(addr string, now time.Time) error {
		a, _ := netip.ParseAddr(addr)
		return h.from(h.visit(byPassword("eve"), wrong), a).guess(now)
	}
	for _, addr := range []string{"2001:db8:1:200::1", "2001:db8:1:2ff::1", "2001:db8:1:2aa::7"} {
		refused(t, addr, try(addr, start), latchkey.ErrWrongPassword)
	}
	refused(t, "a fourth from one network", try("2001:db8:1:201::9", start.Add(time.Hour-1)), latchkey.ErrTooMany)
	refused(t, "while the time is unknown", try("2001:db8:1:201::9", time.Time{}), latchkey.ErrTooMany)
	refused(t, "with the clock put back", try("2001:db8:1:201::9", start.Add(-time.Hour)), latchkey.ErrTooMany)
	refused(t, "from the next network", try("2001:db8:1:300::1", start), latchkey.ErrWrongPassword)
	refused(t, "an hour later", try("2001:db8:1:201::9", start.Add(time.Hour)), latchkey.ErrWrongPassword)
	// All relays are one source, and an IPv4 address is one however it is written.
	if err := h.Open(pairing.PasswordOpen, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		refused(t, "by a relay", try("", start), latchkey.ErrWrongPassword)
	}
	refused(t, "by another relay", try("", start), latchkey.ErrTooMany)
	for _, addr := range []string{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"} {
		refused(t, addr, try(addr, start), latchkey.ErrWrongPassword)
	}
	refused(t, "the same address", try("::ffff:192.0.2.1", start), latchkey.ErrTooMany)
	refused(t, "its neighbour", try("192.0.2.2", start), latchkey.ErrWrongPassword)
}

// Ten good guests in a row are no failures, nor are good guests whose name is
// taken.
func TestSuccessGivesTheTryBack(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	home := netip.MustParseAddr("192.0.2.1")
	addUser(t, h.store, "taken", "guest")
	for i := range 15 {
		if _, err := h.from(h.visit(byPassword(fmt.Sprintf("guest%d", i)), secret), home).pair(start); err != nil {
			t.Fatal(i, err)
		}
		_, err := h.from(h.visit(byPassword("Taken"), secret), home).pair(start)
		refused(t, "a name that is taken", err, latchkey.ErrConflict)
	}
}

// Whoever begins many tries at once, before any has failed, gets no more of them
// answered.
func TestTriesAtOnce(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.Invite)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	for _, r := range []pairing.Request{byPassword("eve"), byInvite(in.ID)} {
		var shares [3 * pairing.MaxFailures][]byte
		var visits [len(shares)]*visit
		for i := range visits {
			visits[i] = h.visit(r, wrong)
			shares[i] = visits[i].toShare(t)
		}
		var group sync.WaitGroup
		var answered atomic.Int32
		for i, v := range visits {
			group.Go(func() {
				if _, _, err := v.exchange.Step(start, r.Mode, shares[i]); err == nil {
					answered.Add(1)
				} else if !errors.Is(err, latchkey.ErrPairingClosed) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := answered.Load(); n != pairing.MaxFailures {
			t.Errorf("%v: %d shares were answered, want %d", r.Mode, n, pairing.MaxFailures)
		}
	}
}

// Each invitation has a budget of its own, and strangers have none.
func TestInviteBudgets(t *testing.T) {
	h := newHouse(t, pairing.Invite|pairing.PasswordOpen)
	h.setPassword(secret)
	mine := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
	other := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	before := h.generation()
	for i := range 100 {
		unknown := base64.RawURLEncoding.EncodeToString(newKey(t).Bytes()[:16])
		err := h.visit(byInvite(unknown), wrong).guess(start)
		refused(t, "an unknown id", err, latchkey.ErrPairingClosed)
		body := fmt.Sprintf(`{"share":%q}`, strings.Repeat("A", 87))
		if _, _, err := h.visit(byInvite(mine.ID), wrong).exchange.Step(start, pairing.Invite, []byte(body)); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("%d: a share without a request: %v", i, err)
		}
	}
	if after := h.generation(); after != before {
		t.Errorf("%d writes for ids that nobody has", after-before)
	}
	var errs []error
	for range 50 {
		errs = append(errs, h.visit(byInvite(other.ID), wrong).guess(start))
		h.restart()
	}
	if n := guessed(errs); n != pairing.MaxFailures {
		t.Errorf("%d guesses were answered, want %d", n, pairing.MaxFailures)
	}
	_, err := h.visit(byInvite(other.ID), other.Password).pair(start)
	refused(t, "the one that was tried", err, latchkey.ErrPairingClosed)
	if _, err := h.visit(byInvite(mine.ID), mine.Password).pair(start); err != nil {
		t.Errorf("another: %v", err)
	}
	if _, err := h.visit(byPassword("dora"), secret).pair(start); err != nil {
		t.Errorf("the device's password: %v", err)
	}
}

// What does not work looks the same, whyever it does not.
func TestInvitesThatDoNotWorkLookAlike(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	used := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
	if _, err := h.visit(byInvite(used.ID), used.Password).pair(start); err != nil {
		t.Fatal(err)
	}
	expired := h.invite(pairing.InviteRequest{User: "carol", Role: "guest", Expires: start.Add(time.Minute)})
	worn := h.invite(pairing.InviteRequest{User: "dora", Role: "guest"})
	for range pairing.MaxFailures {
		_ = h.visit(byInvite(worn.ID), wrong).guess(start)
	}
	ids := map[string]string{"used": used.ID, "expired": expired.ID, "worn": worn.ID, "unknown": strings.Repeat("A", 22)}
	texts := map[string]bool{}
	for what, id := range ids {
		_, err := h.visit(byInvite(id), used.Password).pair(start.Add(time.Minute))
		refused(t, what, err, latchkey.ErrPairingClosed)
		texts[fmt.Sprint(err)] = true
	}
	if len(texts) != 1 {
		t.Errorf("they are told apart by %q", slices.Sorted(maps.Keys(texts)))
	}
	_, err := h.visit(byInvite(expired.ID), expired.Password).pair(time.Time{})
	refused(t, "one that expires, while the time is unknown", err, latchkey.ErrPairingClosed)
}

// Who asks for a name that is taken learns so only after the proof.
func TestNamesAreNotToldBeforeTheProof(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	addUser(t, h.store, "alice", "guest")
	var lengths [2]int
	for i, name := range []string{"alice", "zelda"} {
		v := h.visit(byPassword(name), wrong)
		body, _ := v.config.Request.Encode()
		code, answer, err := v.exchange.Step(start, pairing.PasswordOpen, body)
		if err != nil || code != 2<<5|4 {
			t.Fatal(code, err)
		}
		lengths[i] = len(answer)
		refused(t, name, h.visit(byPassword(name), wrong).guess(start), latchkey.ErrWrongPassword)
	}
	if lengths[0] != lengths[1] {
		t.Errorf("the answers have %d bytes", lengths)
	}
}

func TestOneInvitationInParallel(t *testing.T) {
	for range 20 {
		h := newHouse(t, pairing.Invite)
		in := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
		var group sync.WaitGroup
		var errs [8]error
		for i := range errs {
			v := h.visit(byInvite(in.ID), in.Password)
			group.Go(func() { _, errs[i] = v.pair(start) })
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				refused(t, "a loser", err, latchkey.ErrPairingClosed)
			}
		}
		if list := users(t, h.store); won != 1 || len(list) != 1 {
			t.Fatalf("%d won, users %+v", won, list)
		}
	}
}

// Somebody carries the exchange from the client's session to one of his own,
// byte by byte, and the client means the right password. Each end knows other
// keys, or another session, and neither is convinced.
func TestManInTheMiddle(t *testing.T) {
	for name, tell := range map[string]func(client *pairing.ProverConfig, mallory pairing.Peer){
		"his key towards both":       func(client *pairing.ProverConfig, mallory pairing.Peer) { client.Device = mallory.Key },
		"his key towards the device": func(*pairing.ProverConfig, pairing.Peer) {},
		"only the device's key differs": func(client *pairing.ProverConfig, mallory pairing.Peer) {
			client.Client, client.Device = mallory.Key, mallory.Key
		},
		"only the sessions differ": func(client *pairing.ProverConfig, mallory pairing.Peer) {
			client.Client = mallory.Key
			client.Binding = []byte(strings.Repeat("c", pairing.BindingSize))
		},
		"only one session has our protocol": func(client *pairing.ProverConfig, mallory pairing.Peer) {
			client.Client, client.Binding = mallory.Key, nil
		},
		"another device's id": func(client *pairing.ProverConfig, mallory pairing.Peer) {
			client.Client, client.ID = mallory.Key, latchkey.DeviceID{Product: "acme", Device: "gw2"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, pairing.PasswordOpen)
			h.setPassword(secret)
			v := h.visit(byPassword("bob"), secret)
			v.config.Client = newKey(t)
			tell(&v.config, v.peer)
			got, err := v.pair(start)
			if err == nil || got != (pairing.Reply{}) {
				t.Errorf("the client believes %+v", got)
			}
			if list := users(t, h.store); len(list) != 0 {
				t.Errorf("users %+v", list)
			}
		})
	}
}

// What both ends must have asked for is part of what they confirm.
func TestRequestIsConfirmed(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	for name, body := range map[string]string{
		"another user": `{"user":"eve","name":"phone"}`, "another name": `{"user":"bob","name":"phones"}`,
	} {
		v := h.visit(byPassword("bob"), secret)
		p := pairing.NewProver(v.config)
		_, _, _ = p.Next(0, nil)
		code, answer, err := v.exchange.Step(start, pairing.PasswordOpen, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		share, _, err := p.Next(code, answer)
		if err != nil {
			t.Fatal(err)
		}
		if code, answer, err = v.exchange.Step(start, pairing.PasswordOpen, share); err != nil {
			t.Fatal(err)
		}
		_, _, err = p.Next(code, answer)
		refused(t, name, err, latchkey.ErrWrongPassword)
	}
}

// Two exchanges on one connection, with different names: the first is gone
// before the second begins.
func TestSecondExchangeForgetsTheFirst(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.Invite|pairing.LocalOpen)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "user"})
	for name, second := range map[string]struct {
		mode pairing.Modes
		body string
	}{
		"the same mode":    {pairing.PasswordOpen, `{"user":"eve"}`},
		"an invitation":    {pairing.Invite, `{"invite":"` + in.ID + `"}`},
		"a refused mode":   {pairing.LocalOpen, `{"user":"eve"}`},
		"no such invite":   {pairing.Invite, `{"invite":"` + strings.Repeat("A", 22) + `"}`},
		"a bad request":    {pairing.PasswordOpen, `{"user":"a/b"}`},
		"a share too many": {pairing.PasswordOpen, `{"share":"` + strings.Repeat("A", 87) + `"}`},
		"not even a text":  {pairing.PasswordOpen, "\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			v := h.visit(byPassword("bob"), secret)
			confirm := v.toConfirm(t)
			_, _, _ = v.exchange.Step(start, second.mode, []byte(second.body))
			for _, mode := range []pairing.Modes{pairing.PasswordOpen, second.mode} {
				_, _, err := v.exchange.Step(start, mode, confirm)
				refused(t, "the first one's confirmation", err, latchkey.ErrProtocol)
			}
			if list := users(t, h.store); len(list) != 0 {
				t.Errorf("users %+v", list)
			}
			if err := h.Open(pairing.PasswordOpen, time.Time{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// toShare goes as far as the client's second message and returns it.
func (v *visit) toShare(t *testing.T) []byte { return v.advance(t, 1) }

// toConfirm goes as far as the last.
func (v *visit) toConfirm(t *testing.T) []byte { return v.advance(t, 2) }

func (v *visit) advance(t *testing.T, steps int) []byte {
	t.Helper()
	p := pairing.NewProver(v.config)
	body, _, err := p.Next(0, nil)
	for range steps {
		if err != nil {
			t.Fatal(err)
		}
		var code uint8
		var answer []byte
		if code, answer, err = v.exchange.Step(start, v.config.Request.Mode, body); err != nil {
			t.Fatal(err)
		}
		body, _, err = p.Next(code, answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestStepsOutOfOrder(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	v := h.visit(byPassword("bob"), secret)
	confirm := v.toConfirm(t)
	share := fmt.Appendf(nil, `{"share":%q}`, base64.RawURLEncoding.EncodeToString(append([]byte{4}, make([]byte, 64)...)))
	request := []byte(`{"user":"bob"}`)
	for name, bodies := range map[string][][]byte{
		"confirm first":       {confirm},
		"share first":         {share},
		"confirm, no share":   {request, confirm},
		"no point":            {request, share},
		"confirm after that":  {request, share, confirm},
		"request, then twice": {request, request, confirm},
	} {
		x := h.Begin(pairing.Peer{Key: newKey(t), Source: someAddr(t)})
		var err error
		for _, body := range bodies {
			_, _, err = x.Step(start, pairing.PasswordOpen, body)
		}
		refused(t, name, err, latchkey.ErrProtocol)
	}
	// A message of one mode is none of another's, and a share is answered once.
	for name, post := range map[string]func(x *visit, share []byte) error{
		"share for another mode": func(x *visit, share []byte) error {
			_, _, err := x.exchange.Step(start, pairing.Invite, share)
			return err
		},
		"share again": func(x *visit, share []byte) error {
			if _, _, err := x.exchange.Step(start, pairing.PasswordOpen, share); err != nil {
				t.Fatal(err)
			}
			_, _, err := x.exchange.Step(start, pairing.PasswordOpen, share)
			return err
		},
	} {
		x := h.visit(byPassword("bob"), secret)
		refused(t, name, post(x, x.toShare(t)), latchkey.ErrProtocol)
	}
	x := h.visit(byPassword("bob"), secret)
	other := x.toConfirm(t)
	_, _, err := x.exchange.Step(start, pairing.Invite, other)
	refused(t, "confirmation for another mode", err, latchkey.ErrProtocol)
	// The right confirmation works once, and only where it belongs.
	if _, _, err := h.Begin(v.peer).Step(start, pairing.PasswordOpen, confirm); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("on another connection: %v", err)
	}
	if _, _, err := v.exchange.Step(start, pairing.PasswordOpen, confirm); err != nil {
		t.Error(err)
	}
	removeUser(t, h.store, "bob")
	if _, _, err := v.exchange.Step(start, pairing.PasswordOpen, confirm); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("repeated after the user was removed: %v", err)
	}
}

// What the owner changes between two steps counts for the next.
func TestClosedBetweenSteps(t *testing.T) {
	for name, change := range map[string]func(h *house) time.Time{
		"closed":              func(h *house) time.Time { h.Close(pairing.PasswordOpen); return start },
		"timed out":           func(*house) time.Time { return start.Add(time.Minute) },
		"clock lost":          func(*house) time.Time { return time.Time{} },
		"other password":      func(h *house) time.Time { h.setPassword(wrong); return start },
		"same password again": func(h *house) time.Time { h.setPassword(secret); return start },
		"no password":         func(h *house) time.Time { h.setPassword(latchkey.Secret{}); return start },
	} {
		for _, at := range []string{"share", "confirm"} {
			t.Run(name+" before the "+at, func(t *testing.T) {
				h := newHouse(t, 0)
				h.setPassword(secret)
				if err := h.Open(pairing.PasswordOpen, start.Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				v := h.visit(byPassword("bob"), secret)
				p := pairing.NewProver(v.config)
				body, _, err := p.Next(0, nil)
				for _, step := range []string{"request", "share", "confirm"} {
					now := start
					if step == at {
						now = change(h)
					}
					var code uint8
					var answer []byte
					if code, answer, err = v.exchange.Step(now, pairing.PasswordOpen, body); err != nil {
						if step != at {
							t.Fatal(step, err)
						}
						break
					}
					if body, _, err = p.Next(code, answer); err != nil {
						t.Fatal(err)
					}
				}
				refused(t, at, err, latchkey.ErrPairingClosed)
				if list := users(t, h.store); len(list) != 0 {
					t.Errorf("users %+v", list)
				}
			})
		}
	}
}

// The failure is in the file before the device says whether the guess was right;
// if it cannot be written nothing is said.
func TestCounterIsOnDiskBeforeTheAnswer(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.Invite)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	for _, v := range []*visit{h.visit(byPassword("eve"), wrong), h.visit(byInvite(in.ID), wrong)} {
		if _, err := v.until(start, 2); !errors.Is(err, latchkey.ErrWrongPassword) {
			t.Fatal(err)
		}
	}
	// The power fails now: all that is left is the file.
	copied := filepath.Join(t.TempDir(), "access.db")
	text, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := acl.Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	_ = store.View(func(tx *acl.Tx) error {
		if i, _ := tx.Invite(in.ID); i.Failures != 1 {
			t.Errorf("the invitation has %d failures", i.Failures)
		}
		text, _ := tx.Setting("pairing.failures")
		var f struct{ List []json.RawMessage }
		if err := json.Unmarshal([]byte(text), &f); err != nil || len(f.List) != 1 {
			t.Errorf("the device's password has failures %s", text)
		}
		return nil
	})
	v := h.visit(byPassword("eve"), secret)
	body, _, _ := pairing.NewProver(v.config).Next(0, nil)
	if _, _, err := v.exchange.Step(start, pairing.PasswordOpen, body); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	share := fmt.Appendf(nil, `{"share":%q}`, base64.RawURLEncoding.EncodeToString(append([]byte{4}, make([]byte, 64)...)))
	if code, answer, err := v.exchange.Step(start, pairing.PasswordOpen, share); err == nil || answer != nil || errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("without a store: %d %s, %v", code, answer, err)
	}
}

// The device dies after it has written and before it has answered: the client
// asks again and is told.
func TestLostAnswer(t *testing.T) {
	h := newHouse(t, pairing.Invite)
	in := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
	v := h.visit(byInvite(in.ID), in.Password)
	confirm := v.toConfirm(t)
	if _, _, err := v.exchange.Step(start, pairing.Invite, confirm); err != nil {
		t.Fatal(err)
	}
	h.restart()
	got, err := (&visit{v.peer, h.Begin(v.peer), v.config}).pair(start)
	if want := (pairing.Reply{User: "bob", Role: "guest", Already: true}); err != nil || got != want {
		t.Errorf("pair = %+v, %v; want %+v", got, err, want)
	}
}

func TestNoSecretIsKept(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.Invite)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "bob", Role: "guest"})
	for _, v := range []*visit{h.visit(byPassword("carol"), secret), h.visit(byInvite(in.ID), in.Password), h.visit(byPassword("eve"), wrong)} {
		_, _ = v.pair(start)
	}
	text, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	told := string(text) + fmt.Sprintf("%+v %+v", h.events, in)
	for _, p := range []latchkey.Secret{secret, wrong, in.Password} {
		for _, form := range []string{p.Reveal(), base64.StdEncoding.EncodeToString([]byte(p.Reveal()))} {
			if strings.Contains(told, form) {
				t.Errorf("%q is in the file or in an event", form)
			}
		}
	}
}

// Ten thousand exchanges that were begun and left leave nothing.
func TestAbandonedExchangesLeaveNothing(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	before := h.generation()
	var left []weak.Pointer[pairing.Exchange]
	for i := range 10_000 {
		x := h.Begin(pairing.Peer{Key: newKey(t), Source: someAddr(t)})
		if _, _, err := x.Step(start, pairing.PasswordOpen, []byte(`{"user":"eve"}`)); err != nil {
			t.Fatal(i, err)
		}
		left = append(left, weak.Make(x))
	}
	runtime.GC()
	runtime.GC()
	kept := 0
	for _, x := range left {
		if x.Value() != nil {
			kept++
		}
	}
	if kept > 1 { // a register may still hold the last
		t.Errorf("%d exchanges are still there", kept)
	}
	if after := h.generation(); after != before {
		t.Errorf("%d writes", after-before)
	}
}

func TestEvents(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen|pairing.Invite)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	v := h.visit(byPassword("bob"), secret)
	if _, err := v.pair(start); err != nil {
		t.Fatal(err)
	}
	if _, err := v.pair(start); err != nil { // says nothing new
		t.Fatal(err)
	}
	want := acl.Event{
		Kind: acl.EventPair, Outcome: acl.OutcomeOK, Key: v.peer.Key, User: "bob", Action: acl.PairPasswordOpen,
		Object: "password-open", Detail: "became a user with role guest", Path: acl.PathDirect, Source: v.peer.Source,
	}
	if len(h.events) != 1 || h.events[0] != want {
		t.Fatalf("events %+v, want %+v", h.events, want)
	}
	h.events = nil
	for range pairing.MaxFailures + 1 {
		_ = h.visit(byInvite(in.ID), wrong).guess(start)
		_ = h.visit(byPassword("eve"), wrong).guess(start)
	}
	count := map[string]int{}
	for _, e := range h.events {
		count[fmt.Sprint(e.Kind, " ", e.Outcome, " ", e.Object, " ", e.Code)]++
	}
	for what, n := range map[string]int{
		"pair refused password-open wrong password": 10, "pair refused invite wrong password": 10,
		"pair refused password-open pairing mode is not open": 1, "pair refused invite pairing mode is not open": 1,
		"mode ok password-open code 0": 1, "invite ok " + in.ID + " code 0": 1,
	} {
		if count[what] != n {
			t.Errorf("%d times %q, want %d; all: %v", count[what], what, n, count)
		}
	}
}
