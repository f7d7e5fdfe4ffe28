package discover

import (
	"crypto/rand"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/latchkey-dev/latchkey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when all state machines begin.
var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newKey(t testing.TB) latchkey.Fingerprint {
	t.Helper()
	b := make([]byte, latchkey.FingerprintSize)
	_, _ = rand.Read(b)
	key, err := latchkey.FingerprintFromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newInfo(t testing.TB, name string) Info {
	t.Helper()
	return Info{
		ID: latchkey.DeviceID{Product: "acme", Device: "lamp-7"}, Name: name, Key: newKey(t),
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:5690"), netip.MustParseAddrPort("[::]:5690")},
	}
}

// A lan is a link 192.0.2.0/24 with an IPv6 network and link-local addresses.
func newLink(index int, flags net.Flags, prefixes ...string) *link {
	l := &link{ifi: net.Interface{Index: index, Name: "lan0", Flags: net.FlagUp | flags}}
	for _, p := range prefixes {
		l.prefixes = append(l.prefixes, netip.MustParsePrefix(p))
	}
	return l
}

func lan() *link {
	return newLink(3, net.FlagMulticast, "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64")
}

var (
	lan4      = outlet{index: 3}
	lan6      = outlet{index: 3, v6: true}
	neighbour = netip.MustParseAddrPort("192.0.2.77:5353")
)

// mustParse reads a datagram that we made.
func mustParse(t testing.TB, b []byte) *message {
	t.Helper()
	m, ok := parse(b)
	if !ok {
		t.Fatalf("cannot read %x", b)
	}
	return &m
}

func question(name string, typ dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}
}

func record(name string, seconds uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: seconds},
		Body:   body,
	}
}

func ptr(target string) *dnsmessage.PTRResource {
	return &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(target)}
}

func srv(target string, port uint16) *dnsmessage.SRVResource {
	return &dnsmessage.SRVResource{Target: dnsmessage.MustNewName(target), Port: port}
}

func address(s string) dnsmessage.ResourceBody {
	if a := netip.MustParseAddr(s); a.Is6() {
		return &dnsmessage.AAAAResource{AAAA: a.As16()}
	} else {
		return &dnsmessage.AResource{A: a.As4()}
	}
}
