package uplink

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/latchkey-dev/latchkey"
)

// Framing of STUN messages and of ChannelData on streams (RFC 8489 section 6.2,
// RFC 8656 section 12.5).
const (
	stunHeader    = 20
	channelHeader = 4
)

// relayTLS opens a TLS connection to the relay.
func (d *dialer) relayTLS(ctx context.Context, w way) (net.PacketConn, net.Addr, error) {
	conn, err := d.open(ctx, w, protocolTURN)
	if err != nil {
		return nil, nil, explain(OverTLS, w.addr, err)
	}
	return &framed{Conn: conn, in: bufio.NewReaderSize(conn, 1<<14)}, conn.RemoteAddr(), nil
}

// framed makes datagrams of the messages on a connection to a relay. Reads and
// writes may run at once, but no two reads.
type framed struct {
	net.Conn
	in *bufio.Reader
}

// ReadFrom returns the next message. One that is larger than b is skipped.
func (f *framed) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		size, padding, err := f.next()
		if err != nil {
			return 0, nil, err
		}
		if size <= len(b) {
			if _, err := io.ReadFull(f.in, b[:size]); err != nil {
				return 0, nil, err
			}
		} else {
			padding += size
		}
		if _, err := f.in.Discard(padding); err != nil {
			return 0, nil, err
		}
		if size <= len(b) {
			return size, f.RemoteAddr(), nil
		}
	}
}

// next returns the length of the next message and of what follows it.
func (f *framed) next() (size, padding int, err error) {
	head, err := f.in.Peek(channelHeader)
	if err != nil {
		return 0, 0, err
	}
	size = int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] >> 6 {
	case 0:
		return stunHeader + size, 0, nil
	case 1:
		size += channelHeader
		return size, -size & 3, nil
	}
	return 0, 0, fmt.Errorf("%w: no message of a relay", latchkey.ErrProtocol)
}

// WriteTo sends one message to the relay; the address is of no interest.
// ChannelData is padded.
func (f *framed) WriteTo(b []byte, _ net.Addr) (int, error) {
	padding := 0
	if len(b) >= channelHeader && b[0]>>6 == 1 {
		size := channelHeader + int(binary.BigEndian.Uint16(b[2:]))
		padding = size + -size&3 - len(b)
		if size > len(b) || padding < 0 {
			return 0, fmt.Errorf("%w: ChannelData of another length than it says", latchkey.ErrProtocol)
		}
	}
	if padding > 0 {
		whole := make([]byte, len(b)+padding)
		copy(whole, b)
		if _, err := f.Write(whole); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return f.Write(b)
}
