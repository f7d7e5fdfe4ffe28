package secure

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	cookieSize = 20
	// A cookie is good for cookieLife to twice that.
	cookieLife = 30 * time.Second
	// provenLife is how long an address that returned a cookie may begin its
	// handshake anew; at most maxProven addresses are remembered.
	provenLife = 10 * time.Second
	maxProven  = 1024
)

// cookies proves addresses without keeping state for those that have not
// returned one (RFC 6347 section 4.2.1).
type cookies struct {
	secret [sha256.Size]byte
	proven map[netip.AddrPort]time.Time
	order  []netip.AddrPort // of proven, oldest first
}

func newCookies() *cookies {
	c := &cookies{proven: make(map[netip.AddrPort]time.Time)}
	_, _ = rand.Read(c.secret[:]) // never fails (crypto/rand)
	return c
}

// make binds a cookie to address, random and time.
func (c *cookies) make(src netip.AddrPort, random [randomSize]byte, slot int64) [cookieSize]byte {
	mac := hmac.New(sha256.New, c.secret[:])
	address := src.Addr().As16()
	mac.Write(address[:])
	mac.Write(binary.BigEndian.AppendUint16(nil, src.Port()))
	mac.Write(random[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(slot)))
	return [cookieSize]byte(mac.Sum(nil))
}

func slotOf(now time.Time) int64 { return now.UnixNano() / int64(cookieLife) }

// redeem reports whether a ClientHello carries a cookie of ours, and remembers
// the address as proven.
func (c *cookies) redeem(src netip.AddrPort, h clientHello, now time.Time) bool {
	slot := slotOf(now)
	for _, s := range []int64{slot, slot - 1} {
		if want := c.make(src, h.random, s); hmac.Equal(want[:], h.cookie) {
			c.remember(src, now)
			return true
		}
	}
	return false
}

func (c *cookies) remember(src netip.AddrPort, now time.Time) {
	if c.knows(src, now) {
		return
	}
	for len(c.order) > 0 && (len(c.order) >= maxProven || now.Sub(c.proven[c.order[0]]) > provenLife) {
		delete(c.proven, c.order[0])
		c.order = c.order[1:]
	}
	c.order = append(c.order, src)
	c.proven[src] = now
}

// knows reports whether src returned a cookie lately.
func (c *cookies) knows(src netip.AddrPort, now time.Time) bool {
	at, ok := c.proven[src]
	return ok && now.Sub(at) <= provenLife
}

// helloVerifyRequest is the answer that asks for the cookie. It is smaller
// than any ClientHello and carries its record's sequence number, so that it
// needs no memory.
func helloVerifyRequest(h clientHello, cookie [cookieSize]byte) []byte {
	const body = 2 + 1 + cookieSize
	b := plainRecord(typeHandshake, h.sequence, handshakeHeader+body)
	b = append(b, helloVerify, 0, 0, body, 0, 0, 0, 0, 0, 0, 0, body)
	b = append(b, 254, 255, cookieSize) // version 1.0, as RFC 6347 section 4.2.1 advises
	return append(b, cookie[:]...)
}

// restartRequest ends a handshake that is to begin anew: the fatal alert
// user_canceled (RFC 5246 section 7.2.2).
func restartRequest(h clientHello) []byte {
	return append(plainRecord(typeAlert, h.sequence, 2), alertFatal, alertUserCanceled)
}

// plainRecord returns the header of a record in epoch 0.
func plainRecord(kind byte, sequence uint64, size int) []byte {
	b := make([]byte, 0, headerSize+size)
	b = append(b, kind, 254, 255)
	b = binary.BigEndian.AppendUint64(b, sequence) // its upper 16 bits are the epoch, 0
	return binary.BigEndian.AppendUint16(b, uint16(size))
}
