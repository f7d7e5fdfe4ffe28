package device

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/pairing"
)

// let dials with a key and returns what becomes of a first request.
func (o *office) let(id *latchkey.Identity) (*client.Conn, error) {
	o.t.Helper()
	conn := o.with(id)
	_, err := conn.Get(o.ctx, "/pairing")
	if errors.Is(err, latchkey.ErrForbidden) {
		err = nil // the session is there
	}
	return conn, err
}

// gone waits for the end of a session.
func (o *office) gone(conn *client.Conn) error {
	o.t.Helper()
	select {
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	case <-o.ctx.Done():
		o.t.Fatal("the session goes on")
		return nil
	}
}

// TestStrangersMakeRoom: strangers that only sit there keep nobody out.
func TestStrangersMakeRoom(t *testing.T) {
	o := newOffice(t, nil)
	var first *client.Conn
	for i := range 20 {
		id, _ := latchkey.NewIdentity()
		conn, err := o.let(id)
		if err != nil {
			t.Fatalf("stranger number %d: %v", i+1, err)
		}
		if first == nil {
			first = conn
		}
	}
	if err := o.gone(first); !errors.Is(err, latchkey.ErrTooMany) {
		t.Errorf("the first ended with %v", err)
	}
}

// waiting is a server with strangers from parts of the network, the oldest first.
func waiting(t *testing.T, parts ...string) (*server, []*peer) {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), AccessFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := &server{access: store, dev: new(Device), peers: make(map[*peer]struct{}), clock: newClock(store, nil, nil)}
	s.setLimits(Limits{})
	var list []*peer
	for i, part := range parts {
		p := seated(s, part)
		p.since = time.Now().Add(time.Duration(i-1000) * time.Second)
		s.peers[p] = struct{}{}
		list = append(list, p)
	}
	return s, list
}

func seated(s *server, part string) *peer {
	p := &peer{srv: s}
	if part != "relay" {
		p.origin = netip.MustParsePrefix(part)
	}
	p.work.wait() // nothing runs for it
	return p
}

func TestWhoMakesRoom(t *testing.T) {
	of := func(i int) string { return fmt.Sprintf("192.0.2.%d/32", i) }
	var crowd, relayed []string // twelve parts with one each, then one with four
	for i := range 12 {
		crowd = append(crowd, of(i+1))
	}
	for range 8 {
		relayed = append(relayed, "relay")
	}
	crowd = append(crowd, of(100), of(100), of(100), of(100))
	for name, c := range map[string]struct {
		there    []string
		courting []int // of those
		comes    string
		goes     int  // -1: nobody
		refused  bool // instead
	}{
		"there is room":                      {there: []string{of(1)}, comes: of(1), goes: -1},
		"the fifth of its part":              {there: []string{of(2), of(1), of(1), of(1), of(1)}, comes: of(1), goes: 1},
		"the oldest is pairing":              {there: []string{of(1), of(1), of(1), of(1)}, courting: []int{0}, comes: of(1), goes: 1},
		"all of the part are pairing":        {there: []string{of(1), of(1), of(1), of(1)}, courting: []int{0, 1, 2, 3}, comes: of(1), goes: -1, refused: true},
		"relays have half":                   {there: relayed[:7], comes: "relay", goes: -1},
		"relays have no more":                {there: relayed, comes: "relay", goes: 0},
		"all places are taken":               {there: crowd, comes: of(50), goes: 12},
		"by single ones and some who pair":   {there: crowd, courting: []int{12, 13, 14, 15}, comes: of(50), goes: 0},
		"a relay comes, all places are gone": {there: crowd, comes: "relay", goes: 12},
	} {
		t.Run(name, func(t *testing.T) {
			s, list := waiting(t, c.there...)
			for _, i := range c.courting {
				list[i].court(time.Now())
			}
			if err := s.makeRoom(seated(s, c.comes), time.Now()); errors.Is(err, latchkey.ErrTooMany) != c.refused {
				t.Errorf("the newcomer: %v", err)
			}
			for i, p := range list {
				if p.yielded != (i == c.goes) {
					t.Errorf("number %d makes room: %v", i, p.yielded)
				}
			}
		})
	}
	var p peer
	if p.court(time.Now().Add(-courtship)); p.courts(time.Now()) {
		t.Error("who took a step long ago is pairing for ever")
	}
}

// TestGuestLeavesPlaces: one user takes neither all places nor those kept for
// administrators.
func TestGuestLeavesPlaces(t *testing.T) {
	for _, c := range []struct{ sessions, gus int }{{6, 3}, {40, 8}, {12, 8}, {1, 1}} {
		t.Run(fmt.Sprint(c.sessions), func(t *testing.T) {
			o := newOffice(t, func(d *Device, _ *acl.Store) { d.Limits.Sessions = c.sessions })
			for n := range c.gus {
				if _, err := o.let(o.keys["gus"]); err != nil {
					t.Fatalf("number %d: %v", n+1, err)
				}
			}
			if _, err := o.let(o.keys["gus"]); !errors.Is(err, latchkey.ErrTooMany) {
				t.Errorf("one more: %v", err)
			}
			if _, err := o.let(o.keys["olga"]); (err != nil) != (c.sessions == 1) {
				t.Errorf("the administrator: %v", err)
			}
			if _, err := o.let(o.keys["uma"]); (err != nil) != (c.sessions < 40) {
				t.Errorf("another user: %v", err)
			}
		})
	}
}

// TestExpiredIsAStranger: whose access is over has the place of a stranger, and
// none where nothing is open to strangers.
func TestExpiredIsAStranger(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Limits.UnpairedLife = time.Second })
	over := func() {
		o.update(func(tx *acl.Tx) error {
			u, _ := tx.User("gus")
			u.Expires = time.Now().Add(-time.Hour)
			return tx.SetUser(u)
		})
	}
	over()
	if err := o.gone(o.as("gus")); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the session ended with %v", err)
	}
	if err := o.ClosePairing(pairing.LocalOpen | pairing.Invite); err != nil {
		t.Fatal(err)
	}
	c := &client.Client{Dir: t.TempDir(), Identity: o.keys["gus"], Logger: o.Logger, NoDiscovery: true}
	defer c.Close()
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := known.Add(client.Device{Alias: "home", ID: o.info.ID, Key: o.info.Fingerprint, Addrs: o.info.PairingURL.Addrs}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Dial(o.ctx, "home"); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("dialled with %v", err)
	}
}

// TestRemovedInBetween: a key that is removed after the handshake and before the
// session has its place does not get it.
func TestRemovedInBetween(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Pairing = 0 })
	s, err := o.serving()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock() // nobody gets a place
	conn := o.as("gus")
	o.update(func(tx *acl.Tx) error { return tx.RemoveUser("gus") })
	s.mu.Unlock()
	if err := o.gone(conn); !errors.Is(err, latchkey.ErrUnpaired) && !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the session ended with %v", err)
	}
}
