package coap

import (
	"encoding/binary"
	"errors"
	"sync"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

const (
	headerSize  = 4
	maxToken    = 8
	maxOptions  = 64      // options in one message
	maxDatagram = 1 << 14 // bytes; a DTLS record carries no more
)

// empty is the code of a message that is neither request nor response.
const empty Code = 0

// A token names an exchange (RFC 7252 section 5.3.1). It is comparable.
type token struct {
	n uint8
	b [maxToken]byte
}

func (t *token) bytes() []byte { return t.b[:t.n] }

// A message is one CoAP message (RFC 7252 section 3). After parse, options and
// payload are parts of the datagram.
type message struct {
	typ     codec.Type
	code    Code
	id      uint16
	token   token
	options codec.Options
	payload []byte
}

// A frame is a message with room for its options, for use while one datagram
// is looked at.
type frame struct {
	message
	space [maxOptions]codec.Option
}

var frames = sync.Pool{New: func() any { return new(frame) }}

// release gives the frame back; nothing may refer to its options any more.
func (m *frame) release() {
	clear(m.options)
	m.message = message{}
	frames.Put(m)
}

var (
	errNotCoAP     = errors.New("not a CoAP message")     // to be dropped in silence
	errMalformed   = errors.New("malformed CoAP message") // type and id are known
	errManyOptions = errors.New("too many options")       // type, code, id and token are known
)

// parse reads a datagram. No option is judged yet: go-coap's own definitions would skip what
// has an illegal length, and a critical one must not be skipped.
func (m *frame) parse(b []byte) error {
	if len(b) < headerSize || len(b) > maxDatagram || b[0]>>6 != 1 {
		return errNotCoAP
	}
	m.typ = codec.Type(b[0] >> 4 & 3)
	m.code = Code(b[1])
	m.id = binary.BigEndian.Uint16(b[2:])
	n, rest := int(b[0]&0xf), b[headerSize:]
	if n > maxToken || n > len(rest) {
		return errMalformed
	}
	m.token.n = uint8(n)
	copy(m.token.b[:], rest[:n])
	rest = rest[n:]
	if m.code == empty && len(b) != headerSize {
		return errMalformed
	}
	m.options = m.space[:0]
	used, err := m.options.Unmarshal(rest, nil)
	switch {
	case errors.Is(err, codec.ErrOptionsTooSmall):
		return errManyOptions
	case err != nil:
		return errMalformed
	}
	m.payload = rest[used:]
	if len(m.payload) == 0 && used > 0 && marked(rest[:used], m.options) {
		return errMalformed
	}
	return nil
}

// marked reports whether the option bytes end with a payload marker.
func marked(b []byte, options codec.Options) bool {
	if b[len(b)-1] != 0xff {
		return false
	}
	last := len(options) - 1
	if last < 0 {
		return true
	}
	v := options[last].Value
	return len(v) == 0 || &v[len(v)-1] != &b[len(b)-1]
}

// encode returns the datagram in a slice of its own.
func (m *message) encode() ([]byte, error) {
	wire := codec.Message{
		Type:      m.typ,
		Code:      codes.Code(m.code),
		MessageID: int32(m.id),
		Token:     m.token.bytes(),
		Options:   m.options,
		Payload:   m.payload,
	}
	size, err := coder.DefaultCoder.Size(wire)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := coder.DefaultCoder.Encode(wire, b); err != nil {
		return nil, err
	}
	return b, nil
}

// bare returns an empty message: an acknowledgement, a reset or a ping.
func bare(typ codec.Type, id uint16) []byte {
	return []byte{1<<6 | byte(typ)<<4, byte(empty), byte(id >> 8), byte(id)}
}
