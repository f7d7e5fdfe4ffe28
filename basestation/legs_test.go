package basestation

import (
	"net/netip"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// guestLeg makes a leg from the nth source.
func guestLeg(key latchkey.Fingerprint, n int) *leg {
	return &leg{
		key: key, guest: true, transport: "udp",
		source: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(n >> 8), byte(n), 15: 1}), 5684),
	}
}

// TestLegsPerKey lets the oldest connection of a key make room, but never the
// attached one.
func TestLegsPerKey(t *testing.T) {
	table := newLegs(func() Limits { return Limits{}.withDefaults() })
	key := newIdentity(t).Fingerprint()
	attached := guestLeg(key, 0)
	attached.guest = false
	list := []*leg{attached}
	for range legsPerKey - 1 {
		l := guestLeg(key, 1)
		l.guest = false
		list = append(list, l)
	}
	for i, l := range list {
		if gone, ok := table.add(l); !ok || len(gone) != 0 {
			t.Fatalf("leg %d: %v, %d gone", i, ok, len(gone))
		}
	}
	table.attached(attached)
	for i := range 3 {
		l := guestLeg(key, 1)
		gone, ok := table.add(l)
		if !ok || len(gone) != 1 || gone[0] != list[1+i] {
			t.Fatalf("one more: %v, %d gone", ok, len(gone))
		}
		table.remove(gone[0]) // once more, when it has ended
	}
	if n, _ := table.len(); n != legsPerKey {
		t.Errorf("%d legs", n)
	}
}

// TestGuests keeps peers that are no devices to their share, of which strangers
// get what others leave.
func TestGuests(t *testing.T) {
	const share = 5
	table := newLegs(func() Limits { return Limits{Sessions: share * guestShare}.withDefaults() })
	var last *leg
	for n := range 100 {
		last = guestLeg(newIdentity(t).Fingerprint(), n)
		if gone, ok := table.add(last); !ok || len(gone) != min(1, n/share) {
			t.Fatalf("stranger %d: %v, %d gone", n, ok, len(gone))
		}
	}
	if n, _ := table.len(); n != share || len(table.perPrefix) != share {
		t.Fatalf("%d strangers, %d prefixes", n, len(table.perPrefix))
	}
	for _, l := range table.all() {
		table.introduced(l)
	}
	if _, ok := table.add(guestLeg(newIdentity(t).Fingerprint(), 1000)); ok {
		t.Error("a stranger takes the place of a client")
	}
	device := guestLeg(newIdentity(t).Fingerprint(), 1001)
	device.guest = false
	if _, ok := table.add(device); !ok {
		t.Error("no room for a device")
	}
	if !table.attached(last) { // its key was registered meanwhile
		t.Error("a device had to make room")
	}
	if gone, ok := table.add(guestLeg(newIdentity(t).Fingerprint(), 1002)); !ok || len(gone) != 0 {
		t.Errorf("no room for a client: %v, %d gone", ok, len(gone))
	}
	for _, l := range table.all() {
		table.remove(l)
	}
	if table.guests != 0 || table.strangers.Len() != 0 || len(table.perPrefix)+len(table.byKey)+len(table.bySource) != 0 {
		t.Errorf("left over: %+v", table)
	}
}

// TestTrust makes a peer known by what came of its requests: a token for a device
// that is away, or a registered key that does not attach, is not enough.
func TestTrust(t *testing.T) {
	b := newBase(t, nil)
	s, err := b.serving()
	if err != nil {
		t.Fatal(err)
	}
	trusted := func(p *peer) bool {
		list := s.legs.of(p.key.Fingerprint())
		return len(list) == 1 && list[0].trusted.Load()
	}
	device, client, token := ready(t, b)
	if !trusted(device) {
		t.Error("an attached device is a stranger")
	}
	device.end()
	until(t, "the device is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.ServiceUnavailable, latchkey.CodeOffline, nil)
	if trusted(client) {
		t.Error("a token for a device that is away is enough")
	}
	device = b.connectUDP(device.key)
	until(t, "the device is back", func() bool { s, _ := b.Status(); return s.Peers == 2 })
	if trusted(device) {
		t.Error("a registered key is enough")
	}
	device.attach(gateway)
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
	if !trusted(device) || !trusted(client) {
		t.Error("still strangers")
	}
}

// TestGuestMakesRoom tells the one that had to go.
func TestGuestMakesRoom(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.Sessions = guestShare })
	first := b.connectUDP(newIdentity(t))
	until(t, "it is there", func() bool { s, _ := b.Status(); return s.Peers == 1 })
	b.connectTLS(newIdentity(t))
	if code := receive(t, first.said); code != latchkey.CodeTooMany {
		t.Errorf("told %v", code)
	}
	receive(t, first.ended)
	b.connectTLS(b.register(gateway)).attach(gateway)
}
