package e2e

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/pairing"
)

var gw1 = latchkey.DeviceID{Product: "acme", Device: "gw1"}

// A site is a basestation and a device that is attached to it through a tap.
type site struct {
	t      *testing.T
	store  *registry.Store
	info   basestation.Info
	server *basestation.Server
	tap    *tap
	access *acl.Store
	device *testDevice
}

// newSite makes one. The device is not owned yet.
func newSite(t *testing.T, change func(*device.Device)) *site {
	t.Helper()
	store, info, server := stationWith(t, func(*basestation.Server) {})
	s := &site{t: t, store: store, info: info, server: server, access: newAccess(t), tap: newTap(t, info.Addrs[0])}
	d := &device.Device{
		Identity: newIdentity(t), ID: gw1, Access: s.access, Pairing: pairing.LocalInitial,
		Basestations: []string{s.tap.addr.String()}, BasestationKey: info.Fingerprint,
	}
	if change != nil {
		change(d)
	}
	s.register(gw1, d.Identity)
	s.device = serve(t, d)
	s.version(1)
	return s
}

func (s *site) register(id latchkey.DeviceID, key *latchkey.Identity) {
	s.t.Helper()
	err := s.store.AddDevice(id, registry.Key{Fingerprint: key.Fingerprint(), Purpose: "operational", Origin: "manual", State: "active", Added: time.Now()})
	if err != nil {
		s.t.Fatal(err)
	}
}

// version waits until the basestation has so many lists of tokens, or more.
func (s *site) version(least uint64) {
	s.t.Helper()
	await(s.t, "the device's tokens are at the basestation", func() bool { return s.store.TokensVersion(gw1) >= least })
}

// knows waits until the gate takes a token from the holder of a key.
func (s *site) knows(token latchkey.ConnectToken, key latchkey.Fingerprint) {
	s.t.Helper()
	await(s.t, "the gate knows the token", func() bool { return s.store.Check(gw1, token.Hash(), key, time.Now()) == nil })
}

// own makes a new client the owner, and returns it with the token it learned.
func (s *site) own() (*client.Client, latchkey.ConnectToken) {
	s.t.Helper()
	c := newClient(s.t)
	pair(s.t, c, s.device)
	token := s.learned(c)
	s.knows(token, identityOf(s.t, c).Fingerprint())
	return c, token
}

// learned is the token that a paired client learns from the device itself.
func (s *site) learned(c *client.Client) latchkey.ConnectToken {
	s.t.Helper()
	s.t.Cleanup(func() { _ = c.Close() })
	conn := dial(s.t, c)
	defer conn.Close()
	known, err := c.OpenKnown()
	if err != nil {
		s.t.Fatal(err)
	}
	var token latchkey.ConnectToken
	await(s.t, "a token in devices.json", func() bool {
		d, err := known.Lookup("home")
		token = d.Token
		return err == nil && !token.IsZero()
	})
	return token
}

func (s *site) call(key *latchkey.Identity, source string) *caller {
	s.t.Helper()
	return call(s.t, key, source, s.info.Addrs[0], s.info.Fingerprint)
}

// counts returns how many datagrams the device exchanged with its basestation.
func (s *site) counts() (up, down int) { return s.tap.counts(s.device.info.Addrs[0]) }

// still waits until the device and the basestation have said what they had to
// say.
func (s *site) still() {
	s.t.Helper()
	last, since := -1, time.Now()
	await(s.t, "silence", func() bool {
		if up, down := s.counts(); up+down != last {
			last, since = up+down, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
}

// An attempt is a way to ask for the device without the right to.
type attempt struct {
	name string
	ask  func(c *caller) *signal.Connect
}

// TestNothingReachesTheDevice: a thousand connects that the gate refuses are
// refused alike, and the device gets no datagram for any of them.
func TestNothingReachesTheDevice(t *testing.T) {
	s := newSite(t, nil)
	owner, bound := s.own()
	expired, used := latchkey.NewConnectToken(), latchkey.NewConnectToken()
	other := latchkey.DeviceID{Product: "acme", Device: "gw2"}
	s.register(other, newIdentity(t))
	theirs := latchkey.NewConnectToken()
	for id, list := range map[latchkey.DeviceID][]registry.Token{
		gw1: {
			{Hash: bound.Hash().Sum(), Key: identityOf(t, owner).Fingerprint()},
			{Hash: expired.Hash().Sum(), Expires: time.Now().Add(-time.Second)},
			{Hash: used.Hash().Sum(), Uses: 1},
		},
		other: {{Hash: theirs.Hash().Sum()}},
	} {
		if _, err := s.store.ReplaceTokens(id, s.store.TokensVersion(id)+1, list); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.store.Redeem(gw1, used.Hash(), newIdentity(t).Fingerprint(), time.Now()); err != nil {
		t.Fatal(err)
	}
	sct := func(id latchkey.DeviceID, token latchkey.ConnectToken) func(*caller) *signal.Connect {
		return func(c *caller) *signal.Connect { return c.connect(id, token) }
	}
	jwt := func(text string) func(*caller) *signal.Connect {
		return func(c *caller) *signal.Connect {
			m := c.connect(gw1, bound)
			m.SCT, m.JWT = "", text
			return m
		}
	}
	tests := []attempt{
		{"random", func(c *caller) *signal.Connect { return c.connect(gw1, latchkey.NewConnectToken()) }},
		{"stolen from another key", sct(gw1, bound)},
		{"expired", sct(gw1, expired)},
		{"used up", sct(gw1, used)},
		{"another device's", sct(gw1, theirs)},
		{"for a device that is away", sct(other, bound)},
		{"for a device that there is not", sct(latchkey.DeviceID{Product: "acme", Device: "gw3"}, bound)},
		{"for a device of somebody else", sct(latchkey.DeviceID{Product: "emca", Device: "gw1"}, bound)},
		{"no JWT", jwt("x")},
		{"JWT without a signature", jwt("eyJhbGciOiJub25lIn0.eyJkZXZpY2VzIjpbImFjbWUvKiJdfQ.")},
	}
	s.still()
	upBefore, downBefore := s.counts()
	const callers, each = 50, 20
	spent := make([]time.Duration, len(tests))
	var mu sync.Mutex
	var first *coap.Response
	var work sync.WaitGroup
	for n := range callers {
		work.Go(func() {
			c, err := tryCall(t, newIdentity(t), fmt.Sprintf("127.0.1.%d", 1+n/5), s.info.Addrs[0], s.info.Fingerprint)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.ends()
			for i := range each {
				k := (n + i) % len(tests)
				m := tests[k].ask(c)
				m.Wait = i%2 == 0
				began := time.Now()
				answer, err := c.ask(coap.POST, signal.PathConnect, m)
				took := time.Since(began)
				if err != nil {
					t.Errorf("%s: %v", tests[k].name, err)
					return
				}
				mu.Lock()
				spent[k] += took
				if first == nil {
					first = answer
				}
				if answer.Code != coap.Forbidden || codeOf(answer) != latchkey.CodeForbidden || !reflect.DeepEqual(answer, first) {
					t.Errorf("%s: %+v, others %+v", tests[k].name, answer, first)
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for k, d := range spent {
		t.Logf("%-32s refused in %v on average", tests[k].name, (d / (callers * each / time.Duration(len(tests)))).Round(100*time.Microsecond))
	}
	s.still()
	up, down := s.counts()
	if down-downBefore > up-upBefore { // keep-alive is the device's own and gets one answer each
		t.Errorf("the device sent %d datagrams and received %d", up-upBefore, down-downBefore)
	}
	if up-upBefore > 4 {
		t.Errorf("the device sent %d datagrams", up-upBefore)
	}
	if status, err := s.server.Status(); err != nil || status.Refused != callers*each || status.Introductions != 0 {
		t.Errorf("%d refused and %d introductions, %v", status.Refused, status.Introductions, err)
	}
	// The counter counts: with the right token the device hears of it.
	c := s.call(identityOf(t, owner), "127.0.0.1")
	if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, bound)); answer.Code != coap.Created {
		t.Fatalf("the owner: %v", answer.Code)
	}
	await(t, "a datagram at the device", func() bool { _, now := s.counts(); return now > down })
}

// TestMalformedConnect: what is no request for an introduction reaches nobody.
func TestMalformedConnect(t *testing.T) {
	s := newSite(t, nil)
	owner, token := s.own()
	s.still()
	_, before := s.counts()
	c := s.call(identityOf(t, owner), "127.0.0.1")
	good, err := signal.Marshal(c.connect(gw1, token))
	if err != nil {
		t.Fatal(err)
	}
	bodies := [][]byte{nil, {0xa0}, make([]byte, signal.MaxMessage+1), good[:len(good)-1], append(bytes.Clone(good), 0)}
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		bodies = append(bodies, bad)
	}
	granted := 0
	for _, body := range bodies {
		r := coap.NewRequest(coap.POST, signal.PathConnect)
		r.Format, r.Body = coap.CBOR, body
		answer, err := c.Do(deadline(t), r)
		if err != nil {
			c = s.call(identityOf(t, owner), "127.0.0.1") // it was refused too often
			continue
		}
		if answer.Code == coap.Created {
			granted++
		}
	}
	if _, now := s.counts(); granted != 0 || now > before+2 {
		t.Errorf("%d granted, %d datagrams to the device", granted, now-before)
	}
}

// TestBearerTokens: of all tokens that a device gives out, only those in pairing
// URLs open the gate to whoever shows them.
func TestBearerTokens(t *testing.T) {
	d := newDouble(t)
	var mu sync.Mutex
	var lists []signal.Tokens
	d.on(signal.PathTokens, func(_ *dleg, r *coap.Request) *coap.Response {
		var m signal.Tokens
		if err := signal.Unmarshal(r.Body, &m); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		lists = append(lists, m)
		return coap.NewResponse(coap.Changed)
	})
	latest := func() []signal.Token {
		mu.Lock()
		defer mu.Unlock()
		if len(lists) == 0 {
			return nil
		}
		return lists[len(lists)-1].List
	}
	bearer := func() (n int) {
		for _, token := range latest() {
			if token.Key.IsZero() {
				n++
				if token.Uses != 10 || token.Expires.IsZero() || time.Until(token.Expires) > 24*time.Hour {
					t.Errorf("a bearer token without bounds: %+v", token)
				}
			}
		}
		return n
	}
	store := newAccess(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), ID: gw1, Access: store, Pairing: pairing.LocalInitial,
		Basestations: []string{d.addr.String()}, BasestationKey: d.identity.Fingerprint(),
	})
	var bootstraps []latchkey.ConnectToken
	for range 3 {
		token, err := td.NewBootstrapToken()
		if err != nil {
			t.Fatal(err)
		}
		bootstraps = append(bootstraps, token)
	}
	await(t, "three bearer tokens", func() bool { return bearer() == 3 })
	for _, b := range bootstraps {
		if !slices.ContainsFunc(latest(), func(token signal.Token) bool { return token.Hash == signal.Sum(b.Hash().Sum()) && token.Key.IsZero() }) {
			t.Error("a bootstrap token is not at the basestation")
		}
	}
	paired(t, store, "guest")
	await(t, "the guest's token", func() bool { return len(latest()) == 4 })
	pair(t, newClient(t), td)
	await(t, "bootstrap tokens are void once there is an owner", func() bool { return len(latest()) == 2 && bearer() == 0 })
}

// TestBootstrapUses: many at once use a bootstrap token ten times together, and
// not at all once the device has an owner.
func TestBootstrapUses(t *testing.T) {
	s := newSite(t, nil)
	version := s.store.TokensVersion(gw1)
	token, err := s.device.NewBootstrapToken()
	if err != nil {
		t.Fatal(err)
	}
	s.version(version + 1)
	second, err := s.device.NewBootstrapToken()
	if err != nil {
		t.Fatal(err)
	}
	s.version(version + 2)
	var granted, refused atomic.Int64
	var work sync.WaitGroup
	for n := range 10 {
		c := s.call(newIdentity(t), fmt.Sprintf("127.0.2.%d", 1+n))
		for range 3 {
			m := c.connect(gw1, token)
			work.Go(func() {
				switch answer, err := c.ask(coap.POST, signal.PathConnect, m); {
				case err != nil:
					t.Error(err)
				case answer.Code == coap.Created:
					granted.Add(1)
				default:
					refused.Add(1)
				}
			})
		}
	}
	work.Wait()
	if granted.Load() != 10 || refused.Load() != 20 {
		t.Errorf("granted %d times, refused %d times; want 10 and 20", granted.Load(), refused.Load())
	}
	c := s.call(newIdentity(t), "127.0.2.99")
	if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, second)); answer.Code != coap.Created {
		t.Errorf("before there is an owner: %v", answer.Code)
	}
	s.own()
	if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, second)); answer.Code != coap.Forbidden {
		t.Errorf("the device has an owner: %v", answer.Code)
	}
}

// TestRevokedAtTheDevice: who is removed at the device is refused at the gate.
func TestRevokedAtTheDevice(t *testing.T) {
	s := newSite(t, nil)
	s.own()
	for name, remove := range map[string]func(tx *acl.Tx, user string, key latchkey.Fingerprint) error{
		"user": func(tx *acl.Tx, user string, _ latchkey.Fingerprint) error { return tx.RemoveUser(user) },
		"key":  func(tx *acl.Tx, _ string, key latchkey.Fingerprint) error { return tx.RemoveKey(key) },
	} {
		t.Run(name, func(t *testing.T) {
			version := s.store.TokensVersion(gw1)
			guest := admit(t, s.device, s.access, "guest-"+name, "guest")
			s.version(version + 1)
			token := s.learned(guest)
			c := s.call(identityOf(t, guest), "127.0.0.1")
			if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, token)); answer.Code != coap.Created {
				t.Fatalf("the guest: %v", answer.Code)
			}
			err := s.access.Update(func(tx *acl.Tx) error { return remove(tx, "guest-"+name, c.key.Fingerprint()) })
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			s.version(version + 2)
			t.Logf("the basestation has the new list after %v", time.Since(began).Round(time.Millisecond))
			if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, token)); answer.Code != coap.Forbidden {
				t.Errorf("removed at the device: %v", answer.Code)
			}
		})
	}
}
