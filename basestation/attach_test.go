package basestation

import (
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

func TestAttach(t *testing.T) {
	b := newBase(t, func(s *Server) { s.PublicAddrs = []string{"203.0.113.5:5684"} })
	key := b.register(gateway)
	for transport, connect := range map[string]func(*latchkey.Identity) *peer{"udp": b.connectUDP, "tls": b.connectTLS} {
		t.Run(transport, func(t *testing.T) {
			p := connect(key)
			m := p.attach(gateway)
			if len(m.Servers) != 1 || !m.Mapped.IsValid() || time.Since(m.Time).Abs() > time.Minute {
				t.Errorf("%+v", m)
			}
			list, err := b.Attached()
			if err != nil || len(list) != 1 || list[0].ID != gateway || list[0].Transport != transport || list[0].Source != m.Mapped {
				t.Errorf("attached: %+v, %v", list, err)
			}
			p.attach(gateway) // once more changes nothing
			if n := len(b.kind(EventDuplicateAttach)); n != 0 {
				t.Errorf("%d duplicates", n)
			}
			p.end()
			until(t, "it is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 && s.Peers == 0 })
		})
	}
	if d, ok := b.store.Device(gateway); !ok || d.Seen.IsZero() {
		t.Errorf("%+v was not seen", d)
	}
}

func TestAttachRefused(t *testing.T) {
	b := newBase(t, nil)
	key := b.register(gateway)
	b.register(latchkey.DeviceID{Product: "acme", Device: "gw2"})
	device := b.connectUDP(key)
	device.attach(gateway)
	for _, c := range []struct {
		name string
		key  *latchkey.Identity
		id   latchkey.DeviceID
		want latchkey.Code
	}{
		{"stranger, an id that is attached", newIdentity(t), gateway, latchkey.CodeNotRegistered},
		{"stranger, an id that nobody has", newIdentity(t), latchkey.DeviceID{Product: "acme", Device: "none"}, latchkey.CodeNotRegistered},
		{"device, the id of another", key, latchkey.DeviceID{Product: "acme", Device: "gw2"}, latchkey.CodeWrongID},
		{"device, an id that nobody has", key, latchkey.DeviceID{Product: "other", Device: "gw1"}, latchkey.CodeWrongID},
	} {
		p := b.connectUDP(c.key)
		answer := p.do(coap.POST, signal.PathAttach, &signal.Attach{ID: c.id})
		wants(t, answer, coap.Code(c.want.CoAP()), c.want, nil)
		if len(answer.Body) != 0 {
			t.Errorf("%s: a body", c.name)
		}
	}
	if list := b.store.Devices(); len(list) != 2 {
		t.Errorf("%d rows in the registry", len(list))
	}
	if n := len(b.kind(EventAttachRefused)); n != 4 {
		t.Errorf("%d refusals recorded", n)
	}
	if list, _ := b.Attached(); len(list) != 1 || list[0].Key != key.Fingerprint() {
		t.Errorf("attached: %+v", list)
	}
	device.attach(gateway)
	if len(device.said) != 0 || len(b.kind(EventDuplicateAttach)) != 0 {
		t.Error("strangers disturbed the device")
	}
}

// TestDuplicateAttach attaches two devices with one id: the newest wins, once it
// proved a key of that id.
func TestDuplicateAttach(t *testing.T) {
	b := newBase(t, nil)
	first := b.register(gateway)
	second := newIdentity(t)
	if err := b.store.AddDevice(gateway, registry.Key{Fingerprint: second.Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	old := b.connectUDP(first)
	old.attach(gateway)
	for _, connect := range []func(*latchkey.Identity) *peer{b.connectUDP, b.connectTLS} {
		recent := connect(second)
		recent.attach(gateway)
		if code := receive(t, old.said); code != latchkey.CodeReplaced {
			t.Errorf("the older one was told %v", code)
		}
		receive(t, old.ended)
		old, first, second = recent, second, first
	}
	list := b.kind(EventDuplicateAttach)
	if len(list) != 2 {
		t.Fatalf("events: %+v", list)
	}
	e := list[1]
	if e.Device != gateway || e.Key != first.Fingerprint() && e.Key != second.Fingerprint() || e.OtherKey.IsZero() ||
		e.Key == e.OtherKey && e.Source == e.OtherSource || !e.OtherSource.IsValid() {
		t.Errorf("%+v", e)
	}
	if attached, _ := b.Attached(); len(attached) != 1 || attached[0].Transport != "tls" {
		t.Errorf("attached: %+v", attached)
	}
	if s, _ := b.Status(); s.Devices != 1 {
		t.Errorf("%d devices", s.Devices)
	}
}

func TestAttachTooOften(t *testing.T) {
	b := newBase(t, nil)
	p := b.connectUDP(b.register(gateway))
	for range attachBurst {
		p.attach(gateway)
	}
	wants(t, p.do(coap.POST, signal.PathAttach, &signal.Attach{ID: gateway}), coap.TooManyRequests, latchkey.CodeTooMany, nil)
}

// TestRevokedDevice removes a device that is attached.
func TestRevokedDevice(t *testing.T) {
	b := newBase(t, nil)
	p := b.connectUDP(b.register(gateway))
	p.attach(gateway)
	if err := b.store.RemoveDevice(gateway); err != nil {
		t.Fatal(err)
	}
	if code := receive(t, p.said); code != latchkey.CodeRevoked {
		t.Errorf("told %v", code)
	}
	receive(t, p.ended)
	if s, _ := b.Status(); s.Devices != 0 {
		t.Errorf("%d devices", s.Devices)
	}
	if len(b.kind(EventRevoked)) != 1 {
		t.Error("no event")
	}
}

func TestSilentPeer(t *testing.T) {
	b := newBase(t, func(s *Server) { s.silence = 900 * time.Millisecond })
	p := b.connectUDP(b.register(gateway))
	p.attach(gateway)
	receive(t, p.ended)
	until(t, "it is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
}

func TestClock(t *testing.T) {
	b := newBase(t, nil)
	p := b.connectUDP(b.register(gateway))
	var m signal.Attached
	wants(t, p.do(coap.POST, signal.PathAttach, &signal.Attach{ID: gateway, Time: time.Now().AddDate(-1, 0, 0)}), coap.Created, 0, &m)
	if time.Since(m.Time).Abs() > time.Minute {
		t.Errorf("the basestation's time is %v", m.Time)
	}
	if len(b.kind(EventClock)) != 1 {
		t.Error("no event")
	}
}

func TestTokens(t *testing.T) {
	b := newBase(t, nil)
	p := b.connectUDP(b.register(gateway))
	upload := &signal.Tokens{Version: 3, List: []signal.Token{{Hash: signal.Sum{1}}}}
	wants(t, p.do(coap.PUT, signal.PathTokens, upload), coap.Forbidden, latchkey.CodeForbidden, nil)
	p.attach(gateway)
	wants(t, p.do(coap.PUT, signal.PathTokens, upload), coap.Changed, 0, nil)
	if m := p.attach(gateway); m.TokensVersion != 3 {
		t.Errorf("version %d", m.TokensVersion)
	}
	for range 300 { // more than one block
		upload.List = append(upload.List, signal.Token{Hash: signal.Sum(latchkey.NewConnectToken().Hash().Sum())})
	}
	var state signal.TokensState
	wants(t, p.do(coap.PUT, signal.PathTokens, upload), coap.Conflict, latchkey.CodeConflict, &state)
	if state.Version != 3 {
		t.Errorf("state %+v", state)
	}
	upload.Version = 4
	wants(t, p.do(coap.PUT, signal.PathTokens, upload), coap.Changed, 0, nil)
	stranger := b.connectUDP(newIdentity(t))
	wants(t, stranger.do(coap.PUT, signal.PathTokens, &signal.Tokens{Version: 9}), coap.Forbidden, latchkey.CodeForbidden, nil)
	if v := b.store.TokensVersion(gateway); v != 4 {
		t.Errorf("version %d", v)
	}
}
