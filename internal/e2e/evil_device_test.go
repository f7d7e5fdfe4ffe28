package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
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
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/pairing"
)

func newSession() (s signal.SessionID) {
	_, _ = rand.Read(s[:])
	return s
}

// A witness counts what gets as far as the application of a device.
type witness struct{ served, dialled atomic.Int64 }

// watch makes a device whose handler and service are counted.
func (w *witness) watch(t *testing.T, d *device.Device) {
	d.Handler = device.HandlerFunc(func(rw device.ResponseWriter, _ *device.Request) {
		w.served.Add(1)
		_, _ = rw.Write([]byte("secret"))
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.dialled.Add(1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	d.Services = []device.Service{{ID: "web", Target: "tcp://" + l.Addr().String()}}
}

func (w *witness) nothing(t *testing.T) {
	t.Helper()
	if s, d := w.served.Load(), w.dialled.Load(); s != 0 || d != 0 {
		t.Errorf("%d requests reached the handler and %d connections the service", s, d)
	}
}

// paired adds a user with a key of its own to a device.
func paired(t *testing.T, store *acl.Store, name string) *latchkey.Identity {
	t.Helper()
	id := newIdentity(t)
	err := store.Update(func(tx *acl.Tx) error {
		if err := tx.AddUser(acl.User{Name: name, Role: "user", Added: time.Now()}); err != nil {
			return err
		}
		return tx.AddKey(acl.Key{Fingerprint: id.Fingerprint(), User: name, Added: time.Now(), Origin: "manual"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newAccess is a store that the test can change.
func newAccess(t *testing.T) *acl.Store {
	t.Helper()
	store, err := acl.Create(filepath.Join(t.TempDir(), "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// TestHostileIntroductions: whatever a basestation says about a client, the
// device goes by the client's signature and its own list of keys.
func TestHostileIntroductions(t *testing.T) {
	var w witness
	store := newAccess(t)
	d, td, c := deceived(t, func(dev *device.Device) { dev.Access = store; w.watch(t, dev) })
	owner, stranger := identityOf(t, c), newIdentity(t)
	leg := d.leg(td.info.Fingerprint)
	other := latchkey.DeviceID{Product: "acme", Device: "gw2"}
	id := td.info.ID
	tests := []struct {
		name   string
		want   latchkey.Code
		signer *latchkey.Identity
		sign   func(*signal.Offer) // before the signature
		swap   func(*signal.Introduce)
	}{
		{"unpaired key", latchkey.CodeUnpaired, stranger, nil, nil},
		{"unpaired key under the owner's name", latchkey.CodeUnpaired, stranger, nil, func(in *signal.Introduce) { in.Client = owner.Fingerprint() }},
		{"for another device", latchkey.CodeProtocol, owner, func(o *signal.Offer) { o.Device = other }, nil},
		{"device swapped", latchkey.CodeProtocol, owner, func(o *signal.Offer) { o.Device = other }, func(in *signal.Introduce) { in.Offer.Device = id }},
		{"of another session", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Session = newSession(); in.Offer.Session = in.Session }},
		{"user name swapped", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Offer.Ufrag = "evilevil" }},
		{"password swapped", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Offer.Pwd = strings.Repeat("e", 24) }},
		{"certificate swapped", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Offer.Certificate[0] ^= 1 }},
		{"resume added", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Offer.Resume = make([]byte, 16) }},
		{"resume taken away", latchkey.CodeProtocol, owner, func(o *signal.Offer) { o.Resume = make([]byte, 16) }, func(in *signal.Introduce) { in.Offer.Resume = nil }},
		{"unknown session to go on with", latchkey.CodeNotFound, owner, func(o *signal.Offer) { o.Resume = make([]byte, 16) }, nil},
		{"key swapped for a paired one", latchkey.CodeProtocol, stranger, nil, func(in *signal.Introduce) {
			real := offerOf(t, owner, signal.RoleClient, in.Session, id, nil)
			in.Offer.Key = real.Key
		}},
		{"key swapped for a stranger's", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) {
			evil := offerOf(t, stranger, signal.RoleClient, in.Session, id, nil)
			in.Offer.Key = evil.Key
		}},
		{"signature of another offer", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) {
			old := offerOf(t, owner, signal.RoleClient, newSession(), id, nil)
			in.Offer.Signature = old.Signature
		}},
		{"key of a paired client without its signature", latchkey.CodeProtocol, owner, nil, func(in *signal.Introduce) { in.Offer.Signature[len(in.Offer.Signature)-1] ^= 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			session := newSession()
			in := &signal.Introduce{Session: session, Client: tt.signer.Fingerprint()}
			in.Offer = offerOf(t, tt.signer, signal.RoleClient, session, id, tt.sign)
			if tt.swap != nil {
				tt.swap(in)
			}
			var answer *coap.Response
			await(t, "the device has budget", func() bool {
				answer = leg.tell(t, signal.PathIntroduce, in)
				return codeOf(answer) != latchkey.CodeTooMany
			})
			if answer.Code.Class() == 2 || codeOf(answer) != tt.want || len(answer.Body) > 0 {
				t.Errorf("%v with %v and %d bytes, want %v", answer.Code, codeOf(answer), len(answer.Body), tt.want)
			}
		})
	}
	w.nothing(t)
	if status, err := td.Status(); err != nil || len(status.Sessions) > 0 {
		t.Errorf("sessions %+v, %v", status.Sessions, err)
	}
	lan(t, c)
	// The same thing done honestly is granted, so the refusals above had reasons.
	session := newSession()
	in := &signal.Introduce{Session: session, Client: owner.Fingerprint(), Offer: offerOf(t, owner, signal.RoleClient, session, id, nil)}
	await(t, "an honest introduction", func() bool { return leg.tell(t, signal.PathIntroduce, in).Code == coap.Created })
}

// An intruder has one end of a relay and what a basestation can tell it.
type intruder struct {
	conn net.PacketConn
	peer netip.AddrPort
}

// handshake tries to make a session with a device over the relay.
func (i *intruder) handshake(t *testing.T, id *latchkey.Identity) (*secure.Conn, error) {
	t.Helper()
	h := secure.NewClient(secure.Config{
		Identity: id, Verify: func(secure.Peer) error { return nil }, Log: testLog(t), Timeout: 3 * time.Second,
	}, func(b []byte) error {
		_, err := i.conn.WriteTo(b, net.UDPAddrFromAddrPort(i.peer))
		return err
	})
	done := make(chan struct{})
	go func() { // ends with the allocation
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, _, err := i.conn.ReadFrom(b)
			if err != nil {
				return
			}
			h.Deliver(b[:n], packet.Meta{Src: i.peer})
		}
	}()
	t.Cleanup(func() {
		_ = i.conn.Close()
		<-done
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	return h.Run(ctx)
}

// TestIntroducedByAThief: a basestation replays the owner's offer and comes
// itself, by its own relay. Only the owner's key makes the session.
func TestIntroducedByAThief(t *testing.T) {
	var w witness
	store := newAccess(t)
	d, td, c := deceived(t, func(dev *device.Device) { dev.Access = store; w.watch(t, dev) })
	owner, thief := identityOf(t, c), newIdentity(t)
	guest := paired(t, store, "guest")
	leg := d.leg(td.info.Fingerprint)
	for name, key := range map[string]*latchkey.Identity{"stranger": thief, "another user": guest, "owner": owner} {
		t.Run(name, func(t *testing.T) {
			session := newSession()
			mine, its, end, err := d.relay.Grant(owner.Fingerprint(), td.info.Fingerprint, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			answer := leg.tell(t, signal.PathIntroduce, &signal.Introduce{
				Session: session, Client: key.Fingerprint(), Relay: &its,
				Offer: offerOf(t, owner, signal.RoleClient, session, td.info.ID, nil),
			})
			if answer.Code != coap.Created {
				t.Fatalf("%v", answer.Code)
			}
			conn, err := (&intruder{relayed(t, d.addr, &mine), mine.Peer}).handshake(t, key)
			if name == "owner" { // so that the others were refused for their keys
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
				return
			}
			if err == nil {
				// The client's half is done before the device has judged it.
				ended := make(chan error, 1)
				go func() { ended <- conn.Serve(func([]byte) { t.Error("the device speaks to another key") }) }()
				_, _ = conn.Write([]byte("\x40\x01\x00\x01\xb4time"))
				select {
				case <-ended:
				case <-time.After(patience):
					t.Error("the device keeps a session with another key")
				}
				_ = conn.Close()
			}
		})
	}
	w.nothing(t)
	lan(t, c)
}

// TestUnpairedFromAfar: to a device without an owner, a basestation that lets
// everybody through brings strangers as far as pairing, which is for those on
// its own network.
func TestUnpairedFromAfar(t *testing.T) {
	var w witness
	d := newDouble(t)
	dev := &device.Device{
		Identity: newIdentity(t), ID: latchkey.DeviceID{Product: "acme", Device: "gw1"}, Pairing: pairing.LocalInitial,
		Basestations: []string{d.addr.String()}, BasestationKey: d.identity.Fingerprint(),
	}
	w.watch(t, dev)
	td := serve(t, dev)
	d.leg(td.info.Fingerprint)
	d.introduces(td.info.Fingerprint)
	home := client.Device{
		Alias: "home", ID: td.info.ID, Key: td.info.Fingerprint, Basestations: dev.Basestations,
		BasestationKey: dev.BasestationKey, Token: latchkey.NewConnectToken(), Added: time.Now(),
	}
	stranger := newClient(t)
	defer stranger.Close()
	theirs, err := stranger.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Add(home); err != nil {
		t.Fatal(err)
	}
	relayed := client.DialOptions{Via: client.ViaRelay}
	if _, err := stranger.DialWith(deadline(t), "home", relayed); !errors.Is(err, latchkey.ErrUnpaired) {
		t.Errorf("nothing is open to those from afar: %v", err)
	}
	if err := errors.Join(td.SetPairingPassword(pairing.NewPassword()), td.OpenPairing(pairing.PasswordOpen, 0)); err != nil {
		t.Fatal(err)
	}
	conn, err := stranger.DialWith(deadline(t), "home", relayed)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, path := range []string{"/secret", "/device/info", "/me", "/services", "/basestation", "/.well-known/core"} {
		if r, err := conn.Get(deadline(t), path); err == nil {
			t.Errorf("%s: %q", path, r.Body)
		}
	}
	ask := client.NewRequest(client.POST, "/pairing/local-initial")
	ask.Format, ask.Body = client.FormatJSON, []byte(`{"user":"mallory","name":"x"}`)
	if _, err := conn.Do(deadline(t), ask); !errors.Is(err, latchkey.ErrNotLocal) {
		t.Errorf("pairing from afar: %v", err)
	}
	if tunnel, err := conn.Tunnel(deadline(t), "web"); err == nil {
		t.Error("a tunnel for a stranger")
		_ = tunnel.Close()
	}
	w.nothing(t)
	owner := newClient(t)
	pair(t, owner, td)
	lan(t, owner)
}

// TestInventedIntroductions: a thousand introductions at once, each signed by a
// key that may come, meet the device's own budget.
func TestInventedIntroductions(t *testing.T) {
	store := newAccess(t)
	d, td, c := deceived(t, func(dev *device.Device) { dev.Access = store })
	accomplice := paired(t, store, "accomplice")
	leg := d.leg(td.info.Fingerprint)
	offers := make([][]byte, 1000)
	for i := range offers {
		session := newSession()
		in := &signal.Introduce{Session: session, Client: accomplice.Fingerprint(), Offer: offerOf(t, accomplice, signal.RoleClient, session, td.info.ID, nil)}
		var err error
		if offers[i], err = signal.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	var taken, refused atomic.Int64
	began := time.Now()
	var work sync.WaitGroup
	queue := make(chan []byte)
	for range 32 {
		work.Go(func() {
			for body := range queue {
				answer, err := leg.call(deadline(t), signal.PathIntroduce, body)
				switch {
				case err != nil:
				case answer.Code == coap.Created:
					taken.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	for _, body := range offers {
		queue <- body
	}
	close(queue)
	work.Wait()
	took := time.Since(began)
	// What the device documents: 16 at once, and two a second.
	if most := int64(16 + 2*took.Seconds() + 1); taken.Load() == 0 || taken.Load() > most {
		t.Errorf("%d of 1,000 introductions were taken in %v, at most %d may be", taken.Load(), took, most)
	}
	if grown := runtime.NumGoroutine() - before; grown > 64*16 {
		t.Errorf("%d goroutines more", grown)
	}
	t.Logf("%d taken, %d refused in %v", taken.Load(), refused.Load(), took.Round(time.Millisecond))
	lan(t, c)
}

// TestTenThousandCandidates: the device checks few of the addresses that a
// basestation names, and none of those that no client can have.
func TestTenThousandCandidates(t *testing.T) {
	d, td, c := deceived(t, nil)
	owner := identityOf(t, c)
	leg := d.leg(td.info.Fingerprint)
	victims := make([]*victim, 64)
	for i := range victims {
		victims[i] = newVictim(t, fmt.Sprintf("127.0.0.%d:0", 2+i))
	}
	low := newVictim(t, "127.0.0.1:0")
	session := newSession()
	in := &signal.Introduce{
		Session: session, Client: owner.Fingerprint(), Servers: []string{"127.0.0.1:9", low.addr.String()},
		Offer: offerOf(t, owner, signal.RoleClient, session, td.info.ID, nil),
	}
	if answer := leg.tell(t, signal.PathIntroduce, in); answer.Code != coap.Created {
		t.Fatalf("%v", answer.Code)
	}
	for n := range 10_000 / 25 {
		m := &signal.Candidates{Session: session}
		for i := range 25 {
			k := n*25 + i
			addr := victims[k%len(victims)].addr
			if k%5 == 0 {
				addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), uint16(1024+k))
			}
			m.List = append(m.List, fmt.Sprintf("candidate:%d 1 udp %d %s %d typ host", k, 2130706431-k, addr.Addr(), addr.Port()))
		}
		if answer := leg.tell(t, signal.PathCandidates, m); answer.Code.Class() != 2 {
			break // it has heard enough
		}
	}
	asked := 0
	for _, v := range victims {
		if v.count.Load() > 0 {
			asked++
		}
	}
	if asked > 32 {
		t.Errorf("%d addresses were checked", asked)
	}
	lan(t, c)
}

// A victim counts the datagrams that reach an address.
type victim struct {
	addr  netip.AddrPort
	count atomic.Int64
}

func newVictim(t *testing.T, addr string) *victim {
	t.Helper()
	sock, err := packet.Listen(addr, packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{addr: sock.LocalAddrs()[0]}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		_ = sock.Serve(ctx, func([]byte, packet.Meta) { v.count.Add(1) })
	}()
	t.Cleanup(func() {
		cancel()
		_ = sock.Close()
		<-done
	})
	return v
}

// TestHugeMessages: what is larger than it may be is refused before it is kept.
func TestHugeMessages(t *testing.T) {
	d, td, c := deceived(t, nil)
	leg := d.leg(td.info.Fingerprint)
	for _, path := range []string{signal.PathIntroduce, signal.PathCandidates, "end", "nothing"} {
		for _, size := range []int{signal.MaxMessage + 1, signal.MaxTokensMessage - 1} {
			answer, err := leg.call(deadline(t), path, make([]byte, size))
			if err == nil && answer.Code.Class() == 2 {
				t.Errorf("%s takes %d bytes", path, size)
			}
		}
	}
	garbage := make([]byte, 512)
	for range 200 {
		_, _ = rand.Read(garbage)
		if answer, err := leg.call(deadline(t), signal.PathIntroduce, garbage); err == nil && answer.Code.Class() == 2 {
			t.Error("noise is an introduction")
		}
	}
	lan(t, c)
}
