package secure

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestParseClientHello(t *testing.T) {
	whole := hello(t)
	h, ok := parseClientHello(whole)
	if !ok || h.message != 0 || len(h.cookie) != 0 || h.random == [randomSize]byte{} {
		t.Fatalf("our own ClientHello: %+v, %v", h, ok)
	}
	for i := range whole {
		if _, ok := parseClientHello(whole[:i]); ok {
			t.Errorf("the first %d of %d bytes are taken for a ClientHello", i, len(whole))
		}
	}
	for name, change := range map[string]func(b []byte) []byte{
		"bytes behind it":     func(b []byte) []byte { return append(b, 0) },
		"two of them":         func(b []byte) []byte { return append(b, b...) },
		"ServerHello":         func(b []byte) []byte { b[13] = helloServer; return b },
		"in epoch 1":          func(b []byte) []byte { b[4] = 1; return b },
		"TLS":                 func(b []byte) []byte { b[1], b[2] = 3, 1; return b },
		"old version":         func(b []byte) []byte { b[26] = 255; return b },
		"long session id":     func(b []byte) []byte { b[59] = 33; return b },
		"odd cipher suites":   func(b []byte) []byte { b[62]--; return b },
		"fragment at offset":  func(b []byte) []byte { b[21] = 1; return b },
		"length less than it": func(b []byte) []byte { b[16]--; return b },
		"length too great":    func(b []byte) []byte { b[14] = 1; return b },
	} {
		b := change(slices.Clone(whole))
		if _, ok := parseClientHello(b); ok {
			t.Errorf("%s: taken for a ClientHello", name)
		}
	}
}

// TestParseFragmentedClientHello takes the first fragment of a long hello.
func TestParseFragmentedClientHello(t *testing.T) {
	whole := hello(t)
	want, _ := parseClientHello(whole)
	fragment := func(size int) []byte {
		b := slices.Clone(whole[:headerSize+handshakeHeader+size])
		binary.BigEndian.PutUint16(b[11:], uint16(handshakeHeader+size))
		b[22], b[23], b[24] = 0, byte(size>>8), byte(size)
		return b
	}
	if got, ok := parseClientHello(fragment(60)); !ok || got.random != want.random {
		t.Error("the first fragment is not taken")
	}
	if _, ok := parseClientHello(fragment(30)); ok {
		t.Error("a fragment without the random is taken")
	}
}

// withCookie turns a first ClientHello into the second.
func withCookie(hello, cookie []byte) []byte {
	b := slices.Concat(hello[:60], []byte{byte(len(cookie))}, cookie, hello[61:])
	b[10]++ // the record's number
	b[18]++ // the message's number
	binary.BigEndian.PutUint16(b[11:], uint16(len(b)-headerSize))
	for _, i := range []int{15, 23} {
		binary.BigEndian.PutUint16(b[i:], uint16(len(b)-headerSize-handshakeHeader))
	}
	return b
}

func TestCookies(t *testing.T) {
	c := newCookies()
	now := time.Unix(1_000_000_000, 0)
	h := clientHello{random: [randomSize]byte{1, 2, 3}}
	mac := c.make(clientAddr, h.random, slotOf(now))
	h.cookie = mac[:]
	if !c.redeem(clientAddr, h, now) {
		t.Error("a fresh cookie is refused")
	}
	if !c.knows(clientAddr, now.Add(provenLife)) || c.knows(clientAddr, now.Add(provenLife+1)) {
		t.Error("a proven address is not remembered for provenLife")
	}
	if !c.redeem(clientAddr, h, now.Add(cookieLife)) {
		t.Error("a cookie is refused before its time")
	}
	refused := func(name string, source netip.AddrPort, h clientHello, at time.Time) {
		if c.redeem(source, h, at) {
			t.Errorf("%s: the cookie is taken", name)
		}
	}
	refused("old", clientAddr, h, now.Add(2*cookieLife))
	refused("from the past", clientAddr, h, now.Add(-cookieLife))
	refused("other address", netip.AddrPortFrom(serverAddr.Addr(), clientAddr.Port()), h, now)
	refused("other port", netip.AddrPortFrom(clientAddr.Addr(), clientAddr.Port()+1), h, now)
	refused("other random", clientAddr, clientHello{cookie: mac[:]}, now)
	refused("truncated", clientAddr, clientHello{random: h.random, cookie: mac[:19]}, now)
	refused("none", clientAddr, clientHello{random: h.random}, now)
	for bit := range 8 * cookieSize {
		bad := slices.Clone(mac[:])
		bad[bit/8] ^= 1 << (bit % 8)
		refused("flipped bit", clientAddr, clientHello{random: h.random, cookie: bad}, now)
	}
	if newCookies().redeem(clientAddr, h, now) {
		t.Error("another server takes the cookie")
	}
}

func TestProvenAddressesAreBounded(t *testing.T) {
	c := newCookies()
	now := time.Unix(1_000_000_000, 0)
	for i := range 3 * maxProven {
		c.remember(netip.AddrPortFrom(clientAddr.Addr(), uint16(i)), now)
		c.remember(netip.AddrPortFrom(clientAddr.Addr(), uint16(i)), now)
	}
	if len(c.proven) != maxProven || len(c.order) != maxProven {
		t.Errorf("%d and %d addresses", len(c.proven), len(c.order))
	}
	c.remember(clientAddr, now.Add(provenLife+1))
	if len(c.proven) != 1 || len(c.order) != 1 {
		t.Errorf("%d and %d addresses after their time", len(c.proven), len(c.order))
	}
}

// TestAnswersAreSmall: what a stranger gets is less than what it sent.
func TestAnswersAreSmall(t *testing.T) {
	least := headerSize + handshakeHeader + 2 + randomSize + 1 + 1 + 2 + 2 + 1 + 1
	h := clientHello{sequence: 7}
	for _, b := range [][]byte{helloVerifyRequest(h, [cookieSize]byte{1}), restartRequest(h)} {
		if len(b) >= least {
			t.Errorf("an answer of %d bytes to a ClientHello of %d", len(b), least)
		}
		r, rest, ok := nextRecord(b)
		if !ok || len(rest) != 0 || !shaking.admits(r, true) || r.sequence() != h.sequence {
			t.Errorf("answer %x is not one record", b)
		}
	}
}

func FuzzClientHello(f *testing.F) {
	whole := hello(f)
	f.Add(whole)
	for _, s := range shapes() {
		f.Add(s.data)
	}
	f.Add(withCookie(whole, make([]byte, cookieSize)))
	f.Fuzz(func(t *testing.T, data []byte) {
		kept := slices.Clone(data)
		h, ok := parseClientHello(data)
		if !bytes.Equal(kept, data) {
			t.Error("the datagram was changed")
		}
		if !ok {
			return
		}
		if !bytes.Contains(data, h.random[:]) || !bytes.Contains(data, h.cookie) {
			t.Error("random or cookie is not from the datagram")
		}
		if len(data) < 67 || data[0] != typeHandshake || data[headerSize] != helloClient {
			t.Errorf("%x is taken for a ClientHello", data)
		}
	})
}
