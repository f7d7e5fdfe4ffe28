package secure

import "encoding/binary"

// Content types (RFC 5246 section 6.2.1).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
)

const (
	headerSize = 13 // of a record, RFC 6347 section 4.1
	tagSize    = 16 // of every AEAD in suites
	// overhead is what a record adds to its payload at most: header, explicit
	// nonce and tag.
	overhead = headerSize + 8 + tagSize
	// maxRecord is the largest record that the DTLS library reads whole.
	maxRecord = 8192
	// maxFinished is more than a protected Finished takes, the only handshake
	// message that is still welcome in a session.
	maxFinished = headerSize + 115
)

// A record is one DTLS record inside a datagram.
type record struct {
	raw   []byte // header and body
	kind  byte
	major byte
	minor byte
	epoch uint16
}

func (r record) body() []byte { return r.raw[headerSize:] }

// sequence returns the 48-bit sequence number.
func (r record) sequence() uint64 { return binary.BigEndian.Uint64(r.raw[3:]) & (1<<48 - 1) }

// nextRecord splits the first record off a datagram. It reports false if there
// is none or if it is cut short.
func nextRecord(b []byte) (r record, rest []byte, ok bool) {
	if len(b) < headerSize {
		return record{}, nil, false
	}
	size := headerSize + int(binary.BigEndian.Uint16(b[11:]))
	if size > len(b) {
		return record{}, nil, false
	}
	return record{
		raw:   b[:size:size],
		kind:  b[0],
		major: b[1],
		minor: b[2],
		epoch: binary.BigEndian.Uint16(b[3:]),
	}, b[size:], true
}

// A phase says which records a link lets through.
type phase int

const (
	greeting phase = iota // server, until the client has returned a cookie
	shaking               // until both sides have finished
	open                  // in the session
)

// admits reports whether a record belongs into the phase. What it refuses is
// dropped without an answer, and the rest of its datagram is still looked at.
func (p phase) admits(r record, client bool) bool {
	size := len(r.raw) - headerSize
	if r.major != 254 || size == 0 || len(r.raw) > maxRecord {
		return false
	}
	if r.epoch == 0 {
		return p.admitsPlain(r, size)
	}
	if p == greeting || r.epoch != 1 || r.minor != 253 || size < tagSize {
		return false
	}
	switch r.kind {
	case typeAlert, typeApplicationData:
		return true
	case typeHandshake:
		// In a session only a client that missed our last flight repeats its
		// own; its Finished alone makes the library answer.
		return p == shaking || !client && len(r.raw) <= maxFinished
	}
	return false
}

// admitsPlain judges epoch 0, which anybody can forge. Sessions take none.
func (p phase) admitsPlain(r record, size int) bool {
	if p == open || r.minor != 253 && r.minor != 255 {
		return false
	}
	switch r.kind {
	case typeHandshake:
		return true
	case typeAlert:
		return size == 2
	case typeChangeCipherSpec:
		return p == shaking && size == 1 && r.body()[0] == 1
	}
	return false
}
