package coap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// Lengths from which a frame spells its length in bytes of their own (RFC 8323
// section 3.2).
const (
	length8  = 13
	length16 = 269
	length32 = 65805
)

// A frameReader takes messages off a stream and gives them the form of
// datagrams, which is what an Endpoint reads.
type frameReader struct {
	from *bufio.Reader
	b    []byte // the last datagram
}

// next returns the next message as a non-confirmable one with the given id,
// valid until the next call. Errors: io.EOF between messages,
// latchkey.ErrTooLarge before anything of such a message is kept,
// latchkey.ErrProtocol for a frame that makes no sense, and the stream's own.
func (r *frameReader) next(id uint16) ([]byte, error) {
	first, err := r.from.ReadByte()
	if err != nil {
		return nil, err
	}
	size, err := r.length(first >> 4)
	if err != nil {
		return nil, inside(err)
	}
	code, err := r.from.ReadByte()
	if err != nil {
		return nil, inside(err)
	}
	token := first & 0xf
	if token > maxToken {
		return nil, latchkey.ErrProtocol
	}
	size += headerSize + uint64(token)
	if size > maxDatagram {
		return nil, latchkey.ErrTooLarge
	}
	r.b = slices.Grow(r.b[:0], int(size))[:size]
	r.b[0] = 1<<6 | byte(codec.NonConfirmable)<<4 | token
	r.b[1] = code
	binary.BigEndian.PutUint16(r.b[2:], id)
	if _, err := io.ReadFull(r.from, r.b[headerSize:]); err != nil {
		return nil, inside(err)
	}
	return r.b, nil
}

// length reads the rest of the length of which a frame's first half byte is n.
func (r *frameReader) length(n byte) (uint64, error) {
	var more, base int
	switch n {
	default:
		return uint64(n), nil
	case 13:
		more, base = 1, length8
	case 14:
		more, base = 2, length16
	case 15:
		more, base = 4, length32
	}
	var b [8]byte
	if _, err := io.ReadFull(r.from, b[len(b)-more:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]) + uint64(base), nil
}

// inside says that a stream did not end between two messages.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendFrame adds a message that has the form of a datagram to the stream b.
func appendFrame(b, datagram []byte) []byte {
	token := datagram[0] & 0xf
	switch n := len(datagram) - headerSize - int(token); {
	case n < length8:
		b = append(b, byte(n)<<4|token)
	case n < length16:
		b = append(b, 13<<4|token, byte(n-length8))
	default: // a datagram has at most maxDatagram bytes
		b = append(b, 14<<4|token)
		b = binary.BigEndian.AppendUint16(b, uint16(n-length16))
	}
	b = append(b, datagram[1])
	return append(b, datagram[headerSize:]...)
}

// frameSize returns how many bytes appendFrame adds.
func frameSize(datagram []byte) int {
	around := 2
	switch n := len(datagram) - headerSize - int(datagram[0]&0xf); {
	case n >= length16:
		around += 2
	case n >= length8:
		around++
	}
	return len(datagram) - headerSize + around
}
