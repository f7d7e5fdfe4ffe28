package stream

import (
	"encoding/binary"
	"errors"

	"github.com/pion/sctp"
)

// The protocols that a channel can be opened for, as its DCEP open names them.
const (
	protocolTunnel   = "latchkey-tunnel/1"
	protocolDatagram = "latchkey-datagram/1"
)

// Payload protocol identifiers (RFC 8831 section 8). SCTP cannot carry an
// empty message, so an empty one is a single byte under an identifier of its own.
const (
	ppiDCEP   = sctp.PayloadTypeWebRTCDCEP
	ppiText   = sctp.PayloadTypeWebRTCString
	ppiBinary = sctp.PayloadTypeWebRTCBinary
	ppiEmpty  = sctp.PayloadTypeWebRTCBinaryEmpty
)

// Message and channel types (RFC 8832 sections 5.1 and 8.2).
const (
	dcepAck  = 0x02
	dcepOpen = 0x03

	channelReliable        = 0x00
	channelUnorderedRexmit = 0x81 // reliability parameter: number of retransmissions
	dcepOpenHeader         = 12
	dcepPriorityNormal     = 256 // RFC 8831 section 6.4
	maxDCEP                = dcepOpenHeader + 512
)

// A dcepOpenMessage is a DATA_CHANNEL_OPEN (RFC 8832 section 5.1).
type dcepOpenMessage struct {
	channelType byte
	priority    uint16
	reliability uint32
	label       string
	protocol    string
}

var errDCEP = errors.New("stream: malformed DATA_CHANNEL_OPEN")

// append writes the message. Label and protocol are at most 65535 bytes each.
func (m dcepOpenMessage) append(b []byte) []byte {
	b = append(b, dcepOpen, m.channelType)
	b = binary.BigEndian.AppendUint16(b, m.priority)
	b = binary.BigEndian.AppendUint32(b, m.reliability)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.label)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.protocol)))
	b = append(b, m.label...)
	return append(b, m.protocol...)
}

// parseDCEPOpen reads a message whose length is exactly what it says. It does
// not judge channel type, label or protocol.
func parseDCEPOpen(b []byte) (dcepOpenMessage, error) {
	if len(b) < dcepOpenHeader || len(b) > maxDCEP || b[0] != dcepOpen {
		return dcepOpenMessage{}, errDCEP
	}
	label := int(binary.BigEndian.Uint16(b[8:]))
	protocol := int(binary.BigEndian.Uint16(b[10:]))
	if len(b) != dcepOpenHeader+label+protocol {
		return dcepOpenMessage{}, errDCEP
	}
	text := b[dcepOpenHeader:]
	return dcepOpenMessage{
		channelType: b[1],
		priority:    binary.BigEndian.Uint16(b[2:]),
		reliability: binary.BigEndian.Uint32(b[4:]),
		label:       string(text[:label]),
		protocol:    string(text[label:]),
	}, nil
}

func isDCEPAck(b []byte) bool { return len(b) == 1 && b[0] == dcepAck }
