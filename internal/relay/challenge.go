package relay

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// challengeLife is how long one nonce of the library is given out. The library
// takes it for an hour.
const challengeLife = 10 * time.Minute

// A challenge is what a request without credentials is answered with (RFC 8489
// section 9.2.4). The nonce is the library's, which makes one from the time and
// a key and remembers none, so that one serves all.
type challenge struct {
	nonce []byte
	made  time.Time
}

// learn keeps the nonce of an answer of the library that has one.
func (k *socket) learn(answer []byte) {
	if binary.BigEndian.Uint16(answer)&errorBits != errorBits {
		return
	}
	attributes(answer, func(kind uint16, v []byte) bool {
		if kind == attributeNonce {
			k.challenge.Store(&challenge{append([]byte(nil), v...), time.Now()})
		}
		return true
	})
}

// challenges answers a request that has no credentials, as the library would,
// but without a place in its queue: a flood of them holds up nobody. It reports
// false if the library has to answer.
func (k *socket) challenges(request []byte, src netip.AddrPort) bool {
	c := k.challenge.Load()
	if c == nil || time.Since(c.made) > challengeLife {
		return false
	}
	if _, signed, ok := credentials(request); signed || !ok {
		return false
	}
	d := newDatagram()
	defer d.free()
	answer := c.answer(d.b[:0], request, k.s.cfg.Realm)
	if k.s.affords(k, src, len(request), len(answer)) {
		_ = k.send(answer, src) // like a loss
	}
	return true
}

// answer appends the answer to a request.
func (c *challenge) answer(b, request []byte, realm string) []byte {
	b = binary.BigEndian.AppendUint16(b, binary.BigEndian.Uint16(request)|errorBits)
	b = append(b, 0, 0)
	b = append(b, request[4:stunHeader]...)
	b = appendAttribute(b, attributeError, []byte{0, 0, 4, 1})
	b = appendAttribute(b, attributeNonce, c.nonce)
	b = appendAttribute(b, attributeRealm, []byte(realm))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader))
	return b
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// credentials returns the user name of a request, and whether it is signed. It
// reports false if the request is malformed.
func credentials(request []byte) (user []byte, signed, ok bool) {
	ok = attributes(request, func(kind uint16, v []byte) bool {
		switch {
		case kind == attributeUsername && user == nil:
			user = v
		case kind == attributeIntegrity:
			signed = true
		}
		return true
	})
	return user, signed, ok
}

// expected reports whether a request is signed in the name of a user that there
// is. The names are secret, so strangers cannot say that.
func (s *Server) expected(request []byte) bool {
	user, signed, ok := credentials(request)
	if !signed || !ok {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.users[string(user)] != nil
}
