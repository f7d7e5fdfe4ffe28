package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// everyMode is all pairing modes together.
const everyMode = pairing.LocalInitial | pairing.LocalOpen | pairing.PasswordOpen | pairing.Invite

// openSite is a device with a basestation and a password, on which modes are
// open.
func openSite(t *testing.T, modes pairing.Modes) *site {
	t.Helper()
	s := newSite(t, func(d *device.Device) { d.Pairing = modes })
	if err := s.device.SetPairingPassword(latchkey.NewSecret(devicePassword)); err != nil {
		t.Fatal(err)
	}
	return s
}

// away is the URL by which strangers come from another network: it names no
// address of the device.
func (s *site) away() *latchkey.PairingURL {
	s.t.Helper()
	token, err := s.device.NewBootstrapToken()
	if err != nil {
		s.t.Fatal(err)
	}
	s.knows(token, s.device.info.Fingerprint) // anybody's key will do
	u := *s.device.info.PairingURL
	u.Addrs, u.Token = nil, token
	return &u
}

// stranger knows the device by a URL and nothing else.
func (s *site) stranger(u *latchkey.PairingURL) *client.Client {
	s.t.Helper()
	c := newClient(s.t)
	s.t.Cleanup(func() { _ = c.Close() })
	known, err := c.OpenKnown()
	if err != nil {
		s.t.Fatal(err)
	}
	dev := client.Device{
		Alias: "home", ID: u.ID, Key: u.Key, Addrs: u.Addrs, Basestations: u.Basestations,
		BasestationKey: u.BasestationKey, Token: u.Token, Added: time.Now(),
	}
	if err := known.Add(dev); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// users names the users of a store with their roles.
func users(t *testing.T, store *acl.Store) map[string]string {
	t.Helper()
	list := make(map[string]string)
	err := store.View(func(tx *acl.Tx) error {
		for _, u := range tx.Users() {
			list[u.Name] = u.Role
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPairFromAfar pairs by the modes with a password through a basestation.
func TestPairFromAfar(t *testing.T) {
	t.Run("password-open", func(t *testing.T) {
		s := openSite(t, pairing.PasswordOpen)
		c := newClient(t)
		defer c.Close()
		paired, err := c.Pair(deadline(t), s.away(), client.PairOptions{Alias: "home", User: "gus", Password: latchkey.NewSecret(devicePassword)})
		if err != nil {
			t.Fatal(err)
		}
		if paired.User != "gus" || paired.Role != acl.RoleGuest || paired.Key != s.device.info.Fingerprint {
			t.Errorf("paired as %+v", paired)
		}
		s.returns(c)
	})
	t.Run("invite", func(t *testing.T) {
		s := openSite(t, pairing.Invite)
		u := s.invite("ida", acl.RoleUser)
		u.Addrs = nil
		c := newClient(t)
		defer c.Close()
		paired, err := c.Pair(deadline(t), u, client.PairOptions{Alias: "home"})
		if err != nil {
			t.Fatal(err)
		}
		if paired.User != "ida" || paired.Role != acl.RoleUser {
			t.Errorf("paired as %+v", paired)
		}
		s.returns(c)
		// The invitation has done its work.
		other := newClient(t)
		defer other.Close()
		if again, err := other.Pair(deadline(t), u, client.PairOptions{Alias: "home"}); err == nil {
			t.Errorf("the same invitation again: %+v", again)
		}
	})
}

// invite makes an invitation that holds for an hour, and waits until the gate
// knows its token.
func (s *site) invite(user, role string) *latchkey.PairingURL {
	s.t.Helper()
	i, err := s.device.Invite(pairing.InviteRequest{User: user, Role: role, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := s.device.InvitationURL(s.access, i)
	if err != nil {
		s.t.Fatal(err)
	}
	s.knows(u.Token, s.device.info.Fingerprint)
	return u
}

// returns shows that a client that has paired comes back by way of the relay,
// with the connect token that the device gave it.
func (s *site) returns(c *client.Client) {
	s.t.Helper()
	key := identityOf(s.t, c).Fingerprint()
	known, err := c.OpenKnown()
	if err != nil {
		s.t.Fatal(err)
	}
	dev, err := known.Lookup("home")
	if err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the gate knows the new key", func() bool {
		return s.store.Check(gw1, dev.Token.Hash(), key, time.Now()) == nil
	})
	conn, err := c.DialWith(deadline(s.t), "home", client.DialOptions{Via: client.ViaRelay})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Get(deadline(s.t), "/me"); err != nil {
		s.t.Error(err)
	}
}

// TestLocalModesFromAfar: being on the device's own network cannot be had by way
// of a relay or by an introduction, whatever the peer says.
func TestLocalModesFromAfar(t *testing.T) {
	for _, via := range []client.Via{client.ViaRelay, client.ViaDirect} {
		t.Run(string(via), func(t *testing.T) {
			s := openSite(t, everyMode)
			u := s.away()
			conn, err := s.stranger(u).DialWith(deadline(t), "home", client.DialOptions{Via: via})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, mode := range []pairing.Modes{pairing.LocalInitial, pairing.LocalOpen} {
				r := &client.Request{Method: client.POST, Path: "/pairing/" + mode.String(), Format: client.FormatJSON, Body: []byte(`{"user":"mallory"}`)}
				if _, err := conn.Do(deadline(t), r); !errors.Is(err, latchkey.ErrNotLocal) {
					t.Errorf("%v: %v", mode, err)
				}
			}
			if list := users(t, s.access); len(list) != 0 {
				t.Errorf("users %v", list)
			}
			// Somebody on the network still becomes the owner, and the program that
			// only has local modes to offer says so.
			if err := s.device.ClosePairing(pairing.PasswordOpen | pairing.Invite); err != nil {
				t.Fatal(err)
			}
			c := newClient(t)
			defer c.Close()
			if _, err := c.Pair(deadline(t), u, client.PairOptions{Alias: "home"}); err == nil {
				t.Error("paired from afar by a local mode")
			}
			pair(t, newClient(t), s.device)
		})
	}
}

// TestNothingOpenToStrangers: a key that nobody knows has no session at all
// unless something is open to it, on the kind of connection that it has.
func TestNothingOpenToStrangers(t *testing.T) {
	tests := []struct {
		name       string
		modes      pairing.Modes
		owned      bool // the device has an owner already
		invitation bool
		near, far  bool // whether a stranger gets in
	}{
		{name: "nothing", owned: true},
		{name: "nothing, not even an owner"},
		{name: "local-initial", modes: pairing.LocalInitial, near: true},
		{name: "local-initial, used up", modes: pairing.LocalInitial, owned: true},
		{name: "local-open", modes: pairing.LocalOpen, owned: true, near: true},
		{name: "password-open", modes: pairing.PasswordOpen, owned: true, near: true, far: true},
		{name: "invite without an invitation", modes: pairing.Invite, owned: true},
		{name: "invite with one", modes: pairing.Invite, owned: true, invitation: true, near: true, far: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openSite(t, tt.modes)
			if tt.owned {
				paired(t, s.access, "owner")
				if err := s.access.Update(func(tx *acl.Tx) error { return tx.SetRole("owner", acl.RoleAdmin) }); err != nil {
					t.Fatal(err)
				}
			}
			if tt.invitation {
				s.invite("ida", acl.RoleUser)
			}
			u := s.away()
			near, err := stranger(t, s.device).DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaLocal})
			judgeEntry(t, "near", near, err, tt.near, latchkey.ErrHandshakeRefused)
			far, err := s.stranger(u).DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay})
			judgeEntry(t, "far", far, err, tt.far, latchkey.ErrUnpaired)
		})
	}
}

func judgeEntry(t *testing.T, from string, conn *client.Conn, err error, want bool, refusal error) {
	t.Helper()
	if conn != nil {
		defer conn.Close()
	}
	switch {
	case want && err != nil:
		t.Errorf("%s: %v", from, err)
	case !want && !errors.Is(err, refusal):
		t.Errorf("%s: %v, want %v", from, err, refusal)
	}
}
