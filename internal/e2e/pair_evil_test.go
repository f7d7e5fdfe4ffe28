package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A suitor pairs with a device by messages of its own.
type suitor struct {
	*caller
	device latchkey.Fingerprint
}

// suit connects to a device from an address of this machine.
func suit(t *testing.T, td *testDevice, key *latchkey.Identity, source string) *suitor {
	t.Helper()
	return &suitor{call(t, key, source, td.info.Addrs[0], td.info.Fingerprint), td.info.Fingerprint}
}

// prover is our half of an exchange in this session.
func (s *suitor) prover(r pairing.Request, password string) *pairing.Prover {
	s.t.Helper()
	binding, err := s.conn.Export(pairing.Label, pairing.BindingSize)
	if err != nil {
		s.t.Fatal(err)
	}
	return pairing.NewProver(pairing.ProverConfig{
		Request: r, Password: latchkey.NewSecret(password), Client: s.key.Fingerprint(), Device: s.device, Binding: binding,
	})
}

// post sends one message of an exchange. A refusal is the sentinel of its code.
func (s *suitor) post(mode pairing.Modes, body []byte) (uint8, []byte, error) {
	r := coap.NewRequest(coap.POST, "pairing", mode.String())
	r.Format, r.Body = 50, body
	answer, err := s.Do(deadline(s.t), r)
	if err != nil {
		return 0, nil, err
	}
	if answer.Code.Class() != 2 {
		return 0, nil, codeOf(answer).Err()
	}
	return uint8(answer.Code), answer.Body, nil
}

// next takes one step: what p has to say to an answer, and what the device says
// to that.
func (s *suitor) next(mode pairing.Modes, p *pairing.Prover, code uint8, answer []byte) (uint8, []byte, *pairing.Reply, error) {
	body, done, err := p.Next(code, answer)
	if err != nil || done != nil {
		return 0, nil, done, err
	}
	code, answer, err = s.post(mode, body)
	return code, answer, nil, err
}

// guess is a whole exchange by somebody who does not stop at the device's
// confirmation when that shows that the password is another: it makes one up.
func (s *suitor) guess(r pairing.Request, password string) error {
	p := s.prover(r, password)
	var code uint8
	var answer []byte
	for {
		body, done, err := p.Next(code, answer)
		if errors.Is(err, latchkey.ErrWrongPassword) {
			body, err = []byte(`{"confirm":"`+strings.Repeat("A", 43)+`"}`), nil
		}
		if done != nil || err != nil {
			return err
		}
		c, a, err := s.post(r.Mode, body)
		if err != nil {
			return err
		}
		code, answer = c, a
	}
}

// A middleman stands between a client and a device, with a session of its own
// key to each, and carries requests from one to the other.
type middleman struct {
	addr  netip.AddrPort
	heard atomic.Int64 // requests of the client
}

// newMiddleman poses as td.
func newMiddleman(t *testing.T, td *testDevice) *middleman {
	t.Helper()
	key := newIdentity(t)
	device := call(t, key, "127.0.0.1", td.info.Addrs[0], td.info.Fingerprint)
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{HopLimit: 255})
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{addr: sock.LocalAddrs()[0]}
	dtls := &secure.Server{
		Config: secure.Config{Identity: key, Verify: func(secure.Peer) error { return nil }, Log: testLog(t)},
		Send:   sock.Send,
		Accept: func(c *secure.Conn) { m.carry(t, c, device) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = sock.Serve(ctx, dtls.Deliver) })
	t.Cleanup(func() {
		dtls.Close()
		cancel()
		_ = sock.Close()
		work.Wait()
	})
	return m
}

func (m *middleman) carry(t *testing.T, c *secure.Conn, device *caller) {
	end := coap.New(coap.Config{
		Log: testLog(t),
		Send: func(b []byte) error {
			_, err := c.Write(b)
			return err
		},
		Handler: func(ctx context.Context, r *coap.Request) *coap.Response {
			m.heard.Add(1)
			ask := coap.NewRequest(r.Code, r.Path...)
			ask.Format, ask.Accept, ask.Body = r.Format, r.Accept, r.Body
			answer, err := device.Do(ctx, ask)
			if err != nil {
				return coap.NewResponse(coap.InternalServerError)
			}
			return answer
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { tick(ctx, end) })
	_ = c.Serve(end.Deliver)
	cancel()
	end.Close()
	end.Wait()
	work.Wait()
}

// TestMiddleman: somebody who ends the handshakes of both sides with a key of his
// own, and carries every message of a pairing by the right password, is found
// out. Neither side keeps anything.
func TestMiddleman(t *testing.T) {
	for _, mode := range []pairing.Modes{pairing.PasswordOpen, pairing.Invite} {
		t.Run(mode.String(), func(t *testing.T) {
			td, url := withPassword(t, everyMode)
			before := users(t, td.Access)
			o := client.PairOptions{Alias: "home", User: "gus", Password: latchkey.NewSecret(devicePassword)}
			if mode == pairing.Invite {
				i, err := td.Invite(pairing.InviteRequest{User: "gus", Role: acl.RoleUser})
				if err != nil {
					t.Fatal(err)
				}
				if url, err = td.InvitationURL(td.Access, i); err != nil {
					t.Fatal(err)
				}
				o.Password = i.Password
			}
			m := newMiddleman(t, td)
			spoofed := *url
			spoofed.Addrs, spoofed.Key = []string{m.addr.String()}, latchkey.Fingerprint{}
			c := newClient(t)
			o.AcceptKey = func(latchkey.Fingerprint) error { return nil } // and nobody looks at the key
			if got, err := c.Pair(deadline(t), &spoofed, o); !errors.Is(err, latchkey.ErrWrongPassword) {
				t.Errorf("through the middleman: %+v, %v", got, err)
			}
			if m.heard.Load() < 3 {
				t.Errorf("%d requests went through him, so this shows nothing", m.heard.Load())
			}
			empty(t, c)
			if list := users(t, td.Access); fmt.Sprint(list) != fmt.Sprint(before) {
				t.Errorf("users %v, before %v", list, before)
			}

			// With the key in the URL he does not hear one word of the client.
			heard := m.heard.Load()
			spoofed.Key = td.info.Fingerprint
			if _, err := c.Pair(deadline(t), &spoofed, o); !errors.Is(err, latchkey.ErrIdentityChanged) {
				t.Errorf("against a known key: %v", err)
			}
			if n := m.heard.Load(); n != heard {
				t.Errorf("he heard %d requests", n-heard)
			}
			empty(t, c)

			// Without him the same password does.
			if _, err := c.Pair(deadline(t), url, o); err != nil {
				t.Errorf("without him: %v", err)
			}
		})
	}
}

// empty shows that a client knows no device.
func empty(t *testing.T, c *client.Client) {
	t.Helper()
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if list := known.List(); len(list) != 0 {
		t.Errorf("the client keeps %+v", list)
	}
}

// TestMiddlemanWhoKnows: who knows the password can pair himself, and nobody
// else: what the client proved to him is worth nothing at the device, and what
// he proves to the device makes no user of the client's key.
func TestMiddlemanWhoKnows(t *testing.T) {
	td, _ := withPassword(t, pairing.PasswordOpen)
	m := suit(t, td, newIdentity(t), "127.0.0.1")
	victim := newIdentity(t).Fingerprint()
	binding, err := m.conn.Export(pairing.Label, pairing.BindingSize)
	if err != nil {
		t.Fatal(err)
	}
	// He proves the right password in the victim's name.
	p := pairing.NewProver(pairing.ProverConfig{
		Request: pairing.Request{Mode: pairing.PasswordOpen, User: "gus"}, Password: latchkey.NewSecret(devicePassword),
		Client: victim, Device: m.device, Binding: binding,
	})
	var code uint8
	var answer []byte
	for err == nil {
		code, answer, _, err = m.next(pairing.PasswordOpen, p, code, answer)
	}
	if !errors.Is(err, latchkey.ErrWrongPassword) {
		t.Errorf("in the name of another key: %v", err)
	}
	if list := users(t, td.Access); len(list) != 1 {
		t.Errorf("users %v", list)
	}
	if _, known := td.Access.Lookup(victim); known {
		t.Error("the device knows a key that was never there")
	}
}

// TestTwoExchanges: on one connection a second exchange under another name is
// begun while the first is under way. The first is gone with that.
func TestTwoExchanges(t *testing.T) {
	td, _ := withPassword(t, pairing.PasswordOpen|pairing.Invite)
	invitation, err := td.Invite(pairing.InviteRequest{User: "ida", Role: acl.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	s := suit(t, td, newIdentity(t), "127.0.0.1")
	const mode = pairing.PasswordOpen
	as := func(name string) (p *pairing.Prover, code uint8, answer []byte) {
		t.Helper()
		p = s.prover(pairing.Request{Mode: mode, User: name}, devicePassword)
		code, answer, _, err := s.next(mode, p, 0, nil)
		if err != nil {
			t.Fatalf("as %s: %v", name, err)
		}
		return p, code, answer
	}
	advance := func(p *pairing.Prover, code uint8, answer []byte) (uint8, []byte) {
		t.Helper()
		code, answer, _, err := s.next(mode, p, code, answer)
		if err != nil {
			t.Fatal(err)
		}
		return code, answer
	}
	// As mallory up to the confirmation, which comes after gus has begun.
	mallory, code, answer := as("mallory")
	code, answer = advance(mallory, code, answer)
	_, _, _ = as("gus")
	if _, _, _, err := s.next(mode, mallory, code, answer); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("the confirmation of an exchange that is gone: %v", err)
	}
	// The share of one in the exchange of the other: it is bound to the name.
	mallory, code, answer = as("mallory")
	share, _, err := mallory.Next(code, answer)
	if err != nil {
		t.Fatal(err)
	}
	_, _, _ = as("gus")
	code, answer, err = s.post(mode, share)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mallory.Next(code, answer); !errors.Is(err, latchkey.ErrWrongPassword) {
		t.Errorf("the share of mallory as gus: %v", err)
	}
	// By one mode begun, by another ended.
	gus, code, answer := as("gus")
	confirm, _, err := func() ([]byte, *pairing.Reply, error) { c, a := advance(gus, code, answer); return gus.Next(c, a) }()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.post(pairing.Invite, confirm); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("the confirmation to another mode: %v", err)
	}
	if _, _, err := s.post(mode, confirm); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("after that in its own: %v", err)
	}
	if list := users(t, td.Access); len(list) != 1 {
		t.Fatalf("users %v", list)
	}
	// Whoever brings an exchange to its end is whom that one named.
	if err := s.guess(pairing.Request{Mode: pairing.Invite, Invite: invitation.ID}, invitation.Password.Reveal()); err != nil {
		t.Fatal(err)
	}
	if list := users(t, td.Access); len(list) != 2 || list["ida"] != acl.RoleAdmin {
		t.Errorf("users %v", list)
	}
	// And stays that, under whatever name it comes again.
	_, again, err := s.post(mode, []byte(`{"user":"mallory"}`))
	if want := `{"user":"ida","role":"admin"}`; err != nil || string(again) != want {
		t.Errorf("again: %s, %v", again, err)
	}
}

// TestTenWrongPasswords come from several sources, before and after a restart.
// Then password-open is closed to everybody, until the owner opens it again, but
// not to the holder of an invitation, nor to one whose invitation others tried.
func TestTenWrongPasswords(t *testing.T) {
	td, url := withPassword(t, pairing.PasswordOpen|pairing.Invite)
	holder, err := td.Invite(pairing.InviteRequest{User: "ida", Role: acl.RoleUser})
	if err != nil {
		t.Fatal(err)
	}
	spoilt, err := td.Invite(pairing.InviteRequest{User: "ivo", Role: acl.RoleUser})
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(source string) error {
		s := suit(t, td, newIdentity(t), source)
		defer s.ends()
		return s.guess(pairing.Request{Mode: pairing.PasswordOpen, User: "gus"}, "hunter2hunter2")
	}
	failures := 0
	for n := 1; failures < pairing.MaxFailures; n++ {
		source := fmt.Sprintf("127.0.0.%d", 1+n)
		for range pairing.MaxFailuresFrom {
			if failures == pairing.MaxFailures {
				break
			}
			if err := wrong(source); !errors.Is(err, latchkey.ErrWrongPassword) {
				t.Fatalf("guess %d: %v", failures+1, err)
			}
			failures++
		}
		if failures < pairing.MaxFailures {
			if err := wrong(source); !errors.Is(err, latchkey.ErrTooMany) {
				t.Errorf("one more from %s: %v", source, err)
			}
		}
		td = restart(t, td)
	}
	if m := td.PairingModes(); m != pairing.Invite {
		t.Errorf("open is %v", m)
	}
	s := suit(t, td, newIdentity(t), "127.0.0.99")
	if err := s.guess(pairing.Request{Mode: pairing.PasswordOpen, User: "gus"}, devicePassword); !errors.Is(err, latchkey.ErrPairingClosed) {
		t.Errorf("the right password after ten wrong ones: %v", err)
	}

	// Strangers make up ids of invitations, and use up one that they have seen.
	before := settings(t, td.Access)
	for n := range 3 * pairing.MaxFailures {
		id := []byte("AAAAAAAAAAAAAAAAAAAAAA")
		id[0] += byte(n % 26)
		if err := s.guess(pairing.Request{Mode: pairing.Invite, Invite: string(id)}, "hunter2"); !errors.Is(err, latchkey.ErrPairingClosed) {
			t.Fatalf("an id that nobody has: %v", err)
		}
	}
	if after := settings(t, td.Access); after != before {
		t.Errorf("unknown ids left a trace:\n%s\nbefore\n%s", after, before)
	}
	for n := range pairing.MaxFailures {
		if err := s.guess(pairing.Request{Mode: pairing.Invite, Invite: spoilt.ID}, "hunter2"); !errors.Is(err, latchkey.ErrWrongPassword) {
			t.Fatalf("guess %d of an invitation: %v", n+1, err)
		}
	}
	if err := s.guess(pairing.Request{Mode: pairing.Invite, Invite: spoilt.ID}, spoilt.Password.Reveal()); !errors.Is(err, latchkey.ErrPairingClosed) {
		t.Errorf("an invitation that is void: %v", err)
	}

	// From the same address, in the same hour, the holder of another one gets in.
	invited, err := td.InvitationURL(td.Access, holder)
	if err != nil {
		t.Fatal(err)
	}
	if paired, err := newClient(t).Pair(deadline(t), invited, client.PairOptions{Alias: "home"}); err != nil || paired.User != "ida" {
		t.Errorf("the holder of an invitation: %+v, %v", paired, err)
	}
	// Nothing is open to strangers now, and they have no session any more.
	late := stranger(t, td)
	if _, err := late.Dial(deadline(t), "home"); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("a stranger: %v", err)
	}
	if err := td.OpenPairing(pairing.PasswordOpen, time.Hour); err != nil {
		t.Fatal(err)
	}
	o := client.PairOptions{Alias: "home", User: "gus", Password: latchkey.NewSecret(devicePassword)}
	if _, err := newClient(t).Pair(deadline(t), url, o); err != nil {
		t.Errorf("opened again: %v", err)
	}
}

// restart stops a device and starts one like it, at the same address and with the
// same store.
func restart(t *testing.T, td *testDevice) *testDevice {
	t.Helper()
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	return serve(t, &device.Device{
		Identity: td.Identity, Access: td.Access, Pairing: td.Pairing, Addr: td.info.Addrs[0].String(),
	})
}

// settings is what a store keeps about pairing.
func settings(t *testing.T, store *acl.Store) (text string) {
	t.Helper()
	err := store.View(func(tx *acl.Tx) error {
		for _, name := range []string{"pairing.local-initial", "pairing.password", "pairing.failures"} {
			value, _ := tx.Setting(name)
			text += name + " " + value + "\n"
		}
		text += fmt.Sprint(tx.Invites())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
