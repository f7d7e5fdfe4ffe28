package discover

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/ipv4"

	"github.com/latchkey-dev/latchkey"
)

// onLoopback keeps the tests off every real network.
var onLoopback = Options{Loopback: true}

// announce runs an Announcer until the test or stop ends it.
func announce(t *testing.T, info Info) (a *Announcer, stop func()) {
	t.Helper()
	a, err := NewAnnouncer(info, onLoopback)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return a, stop
}

// browse yields what is found of the given keys, until the consumer or a long
// deadline ends it. Other tests on this machine may be on the air, too.
func browse(t *testing.T, keys ...latchkey.Fingerprint) func(yield func(Found) bool) {
	t.Helper()
	return func(yield func(Found) bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for f, err := range Browse(ctx, onLoopback) {
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				if f.Key == key && !yield(f) {
					return
				}
			}
		}
		t.Fatal("not found in time")
	}
}

// One device: found, renamed, gone.
func TestAnnounceAndBrowse(t *testing.T) {
	info := newInfo(t, "Küche v1.2")
	a, stop := announce(t, info)
	var story []string
	for f := range browse(t, info.Key) {
		if f.ID != info.ID {
			t.Errorf("found id %v, want %v", f.ID, info.ID)
		}
		if !f.Gone && (len(f.Addrs) == 0 || f.Addrs[0] != netip.MustParseAddrPort("127.0.0.1:5690")) {
			t.Errorf("found at %v", f.Addrs)
		}
		step := f.Name
		if f.Gone {
			step += " gone"
		}
		if len(story) > 0 && story[len(story)-1] == step {
			continue // another address family came
		}
		story = append(story, step)
		switch step {
		case "Küche v1.2":
			if err := a.SetName("Light"); err != nil {
				t.Fatal(err)
			}
		case "Light":
			stop()
		}
		if step == "Light gone" {
			break
		}
	}
	if got, want := strings.Join(story, ", "), "Küche v1.2, Küche v1.2 gone, Light, Light gone"; got != want {
		t.Errorf("heard %s; want %s", got, want)
	}
}

// Two devices of one name are both found, because their instances take longer
// names.
func TestTwoDevicesOfOneName(t *testing.T) {
	name := "Lamp " + newKey(t).Short()
	one, two := newInfo(t, name), newInfo(t, name)
	two.Addrs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:5691")}
	announce(t, one)
	announce(t, two)
	found := make(map[latchkey.Fingerprint]uint16)
	for f := range browse(t, one.Key, two.Key) {
		if f.Gone || f.Name != name {
			continue
		}
		found[f.Key] = f.Addrs[0].Port()
		if found[one.Key] == 5690 && found[two.Key] == 5691 {
			break
		}
	}
}

// A stack that is not ours finds our device, and ours finds its.
func TestForeignStack(t *testing.T) {
	group, err := net.ResolveUDPAddr("udp4", "224.0.0.251:5353")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", group)
	if err != nil {
		t.Fatal(err)
	}
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		loopback, err = net.InterfaceByName("lo0")
	}
	if err != nil {
		t.Fatal(err)
	}
	theirs := newInfo(t, "Theirs "+newKey(t).Short())
	var text []mdns.TXTEntry
	for _, s := range encodeTXT(theirs) {
		key, value, _ := strings.Cut(s, "=")
		text = append(text, mdns.NewTXTString(key, value))
	}
	foreign, err := mdns.NewServer(ipv4.NewPacketConn(conn), nil,
		mdns.WithIncludeLoopback(true), mdns.WithInterfaces(*loopback),
		mdns.WithLocalNames("theirs.local"), mdns.WithLocalAddress(net.IPv4(127, 0, 0, 1)),
		mdns.WithService(mdns.ServiceInstance{Instance: theirs.Name, Service: "_latchkey._udp", Host: "theirs.local.", Port: 6000, Text: text}))
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()

	for f := range browse(t, theirs.Key) {
		if f.Name != theirs.Name || f.Addrs[0] != netip.MustParseAddrPort("127.0.0.1:6000") {
			t.Errorf("we found %+v", f)
		}
		break
	}

	ours := newInfo(t, "Ours "+newKey(t).Short())
	announce(t, ours)
	events := make(chan mdns.ServiceEvent, 64)
	foreign.OnServiceDiscovered(func(e mdns.ServiceEvent) {
		select {
		case events <- e:
		default:
		}
	})
	if err := foreign.Browse(t.Context(), "_latchkey._udp"); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Instance.Instance != ours.Name {
				continue
			}
			if e.Instance.Port != 5690 || !e.Addr.IsLoopback() {
				t.Errorf("they found %+v", e)
			}
			return
		case <-deadline:
			t.Fatal("they did not find our device")
		}
	}
}

// A caller that stops early, or whose time is up, leaves nothing behind.
func TestBrowseEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f, err := range Browse(ctx, onLoopback) {
		t.Errorf("yielded %+v, %v after the end", f, err)
	}
	info := newInfo(t, "Lamp")
	announce(t, info)
	for range browse(t, info.Key) {
		break
	}
}
