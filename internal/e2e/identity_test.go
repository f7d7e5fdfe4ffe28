package e2e

import (
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/pairing"
)

func (s *site) events(kind basestation.EventKind) (found []basestation.Event) {
	s.t.Helper()
	list, err := s.server.Events()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range list {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func keysOf(list []registry.Device) (keys [][]registry.Key) {
	for _, d := range list {
		keys = append(keys, d.Keys)
	}
	return keys
}

func (s *site) attachment() device.AttachStatus {
	s.t.Helper()
	status, err := s.device.Status()
	if err != nil {
		s.t.Fatal(err)
	}
	return status.Attach
}

// TestClaimedID: who claims the id of a device with another key is refused before
// anything happens to the device that has it.
func TestClaimedID(t *testing.T) {
	s := newSite(t, nil)
	owner, token := s.own()
	neighbour := newIdentity(t)
	s.register(latchkey.DeviceID{Product: "acme", Device: "gw2"}, neighbour)
	rows := s.store.Devices()
	s.still()
	before := s.attachment()
	up, down := s.counts()
	for name, tt := range map[string]struct {
		key  *latchkey.Identity
		want latchkey.Code
	}{
		"another device":     {neighbour, latchkey.CodeWrongID},
		"nobody's key":       {newIdentity(t), latchkey.CodeNotRegistered},
		"the owner's client": {identityOf(t, owner), latchkey.CodeNotRegistered},
	} {
		c := s.call(tt.key, "127.0.0.1")
		for range 5 {
			answer := c.must(coap.POST, signal.PathAttach, &signal.Attach{ID: gw1, Version: "1", Time: time.Now()})
			if codeOf(answer) != tt.want || len(answer.Body) != 0 {
				t.Errorf("%s: %v %v", name, answer.Code, codeOf(answer))
			}
			// And it is nobody who may say which tokens the device has.
			if answer := c.must(coap.PUT, signal.PathTokens, &signal.Tokens{Version: 1 << 40}); answer.Code.Class() == 2 {
				t.Errorf("%s: it replaced the tokens", name)
			}
		}
	}
	if got, want := len(s.events(basestation.EventAttachRefused)), 15; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
	if list := s.events(basestation.EventDuplicateAttach); len(list) > 0 {
		t.Errorf("%+v", list)
	}
	if got := s.store.Devices(); !reflect.DeepEqual(keysOf(got), keysOf(rows)) || len(got) != len(rows) {
		t.Errorf("the registry has %+v, had %+v", got, rows)
	}
	s.still()
	if upNow, downNow := s.counts(); downNow-down > upNow-up {
		t.Errorf("the device got %d datagrams", downNow-down)
	}
	if now := s.attachment(); now != before {
		t.Errorf("the device was %+v, is %+v", before, now)
	}
	c := s.call(identityOf(t, owner), "127.0.0.1")
	if answer := c.must(coap.POST, signal.PathConnect, c.connect(gw1, token)); answer.Code != coap.Created {
		t.Errorf("the owner is not let through: %v", answer.Code)
	}
}

// TestReplayedAttach: whoever has recorded a whole attach and sends it again gets
// no further than a stranger.
func TestReplayedAttach(t *testing.T) {
	s := newSite(t, nil)
	s.still()
	before := s.attachment()
	attached := len(s.events(basestation.EventAttached))
	capture := s.tap.sent(s.device.info.Addrs[0])
	if len(capture) < 4 {
		t.Fatalf("captured %d datagrams", len(capture))
	}
	for range 3 {
		sock, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.info.Addrs[0]))
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for range 2 {
			for _, b := range capture {
				if n, err := sock.Write(b); err == nil {
					sent += n
				}
			}
		}
		got := 0
		b := make([]byte, 4096)
		_ = sock.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			n, err := sock.Read(b)
			if err != nil {
				break
			}
			got += n
		}
		t.Logf("%d bytes sent, %d came back", sent, got)
		_ = sock.Close()
	}
	s.still()
	if n := len(s.events(basestation.EventAttached)); n != attached {
		t.Errorf("%d attached", n-attached)
	}
	if list := append(s.events(basestation.EventDuplicateAttach), s.events(basestation.EventAttachRefused)...); len(list) > 0 {
		t.Errorf("%+v", list)
	}
	if now := s.attachment(); now != before {
		t.Errorf("the device was %+v, is %+v", before, now)
	}
}

// TestOneIdentityTwice: of two devices with the same key the newest is reached,
// and the other knows why and keeps away for a while.
func TestOneIdentityTwice(t *testing.T) {
	name := func(n string) func(*device.Device) {
		return func(d *device.Device) {
			d.Handler = device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) { _, _ = w.Write([]byte(n)) })
		}
	}
	s := newSite(t, name("first"))
	owner, _ := s.own()
	away(t, owner)
	ask := func() string {
		conn, err := owner.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r, err := conn.Get(deadline(t), "/who")
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Body)
	}
	if got := ask(); got != "first" {
		t.Errorf("%q answered", got)
	}
	twin := &device.Device{
		Identity: s.device.Identity, ID: gw1, Access: newAccess(t), Pairing: pairing.LocalInitial,
		Basestations: []string{s.info.Addrs[0].String()}, BasestationKey: s.info.Fingerprint,
	}
	name("second")(twin)
	// The same owner, so that the device that answers can be told by its answer
	// alone.
	second := serve(t, twin)
	if _, err := owner.Pair(deadline(t), second.info.PairingURL, client.PairOptions{Alias: "twin", User: "owner"}); err != nil {
		t.Fatal(err)
	}
	await(t, "the first was replaced", func() bool {
		now := s.attachment()
		return now.State == "waiting" && strings.Contains(now.Error, latchkey.CodeReplaced.String())
	})
	list := s.events(basestation.EventDuplicateAttach)
	if len(list) != 1 || list[0].Device != gw1 || list[0].Source == list[0].OtherSource || !list[0].OtherSource.IsValid() {
		t.Errorf("%+v", list)
	}
	known, err := owner.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	twinDev, err := known.Lookup("twin")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := owner.DialWith(deadline(t), "twin", client.DialOptions{Via: client.ViaLocal})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	await(t, "the twin's token", func() bool {
		twinDev, err = known.Lookup("twin")
		return err == nil && !twinDev.Token.IsZero()
	})
	version := s.store.TokensVersion(gw1)
	await(t, "the twin's tokens are at the basestation", func() bool {
		status, err := second.Status()
		return err == nil && status.Attach.State == "attached" && status.Attach.Tokens >= version && version > 0
	})
	if err := known.Update("home", func(d *client.Device) { d.Token = twinDev.Token }); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != "second" {
		t.Errorf("%q answered", got)
	}
	if now := s.attachment(); now.State != "waiting" {
		t.Errorf("the first is %+v", now)
	}
}
