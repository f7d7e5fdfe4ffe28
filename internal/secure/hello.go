package secure

import "encoding/binary"

// Handshake message types (RFC 5246 section 7.4, RFC 6347 section 4.3.2).
const (
	helloClient = 1
	helloServer = 2
	helloVerify = 3
)

const (
	randomSize      = 32
	handshakeHeader = 12
	maxClientHello  = 8 << 10 // bytes of the whole message
)

// A clientHello is what a Server needs to know of one.
type clientHello struct {
	random   [randomSize]byte
	message  uint16 // its number: 0 for the first of a handshake, then with a cookie
	sequence uint64 // of the record it came in
	cookie   []byte // points into the datagram
}

// parseClientHello reports whether a datagram is one plausible ClientHello: a
// single record of epoch 0 with well-formed lengths throughout. Of a message
// in fragments it wants the first, with everything up to the extensions.
func parseClientHello(b []byte) (clientHello, bool) {
	var h clientHello
	r, rest, ok := nextRecord(b)
	if !ok || len(rest) != 0 || !greeting.admits(r, false) || r.kind != typeHandshake {
		return h, false
	}
	m := reader(r.body())
	header, ok := m.take(handshakeHeader)
	if !ok || header[0] != helloClient {
		return h, false
	}
	length, offset, fragment := uint24(header[1:]), uint24(header[6:]), uint24(header[9:])
	if length > maxClientHello || offset != 0 || fragment > length || fragment != len(m) {
		return h, false
	}
	h.message = binary.BigEndian.Uint16(header[4:])
	h.sequence = r.sequence()
	return h, h.parse(m, fragment == length)
}

// parse reads the message (RFC 6347 section 4.2.1).
func (h *clientHello) parse(m reader, whole bool) bool {
	version, ok := m.take(2)
	if !ok || version[0] != 254 || version[1] != 253 {
		return false
	}
	random, ok := m.take(randomSize)
	if !ok {
		return false
	}
	h.random = [randomSize]byte(random)
	session, ok := m.vector(1)
	if !ok || len(session) > 32 {
		return false
	}
	if h.cookie, ok = m.vector(1); !ok {
		return false
	}
	suites, ok := m.vector(2)
	if !ok || len(suites) == 0 || len(suites)%2 != 0 {
		return false
	}
	compression, ok := m.vector(1)
	if !ok || len(compression) == 0 {
		return false
	}
	return !whole || len(m) == 0 || m.extensions()
}

// A reader takes fields off the front of a message.
type reader []byte

func (m *reader) take(n int) ([]byte, bool) {
	if n > len(*m) {
		return nil, false
	}
	field := (*m)[:n]
	*m = (*m)[n:]
	return field, true
}

// vector takes a field that is preceded by its length in size bytes.
func (m *reader) vector(size int) ([]byte, bool) {
	prefix, ok := m.take(size)
	if !ok {
		return nil, false
	}
	n := 0
	for _, b := range prefix {
		n = n<<8 | int(b)
	}
	return m.take(n)
}

// extensions reads the list that ends a hello.
func (m *reader) extensions() bool {
	list, ok := m.vector(2)
	if !ok || len(*m) != 0 {
		return false
	}
	for e := reader(list); len(e) > 0; {
		if _, ok := e.take(2); !ok {
			return false
		}
		if _, ok := e.vector(2); !ok {
			return false
		}
	}
	return true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
