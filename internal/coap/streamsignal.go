package coap

import (
	"errors"
	"fmt"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// Signalling codes (RFC 8323 section 5).
const (
	signalCSM     Code = 7<<5 | 1
	signalPing    Code = 7<<5 | 2
	signalPong    Code = 7<<5 | 3
	signalRelease Code = 7<<5 | 4
	signalAbort   Code = 7<<5 | 5
)

// Option numbers, each for its own signal (RFC 8323 sections 5.3 and 5.6).
const (
	csmMaxMessageSize codec.OptionID = 2
	csmBlockWise      codec.OptionID = 4
	abortBadCSMOption codec.OptionID = 2
)

// baseMessageSize is the Max-Message-Size of a peer that has not named one. We
// name it ourselves too: a larger one beside Block-Wise-Transfer would promise
// blocks of more than 1024 bytes (RFC 8323 section 6). We take larger messages
// all the same.
const baseMessageSize = 1152

var (
	// ErrReleased reports a peer that asked for an orderly end.
	ErrReleased = errors.New("coap: peer released the connection")
	// ErrAborted reports a peer that could not go on.
	ErrAborted = errors.New("coap: peer aborted the connection")
)

// An offence is a reason for which we abort the connection. It matches
// latchkey.ErrProtocol or what else is in it.
type offence struct {
	error
	option codec.OptionID // of a CSM; 0: not about one
}

func (o *offence) Unwrap() error { return o.error }

func violation(what string) error {
	return &offence{error: fmt.Errorf("%w: %s", latchkey.ErrProtocol, what)}
}

// hello is the first message of each side.
func hello() []byte {
	var o options
	o.uint(csmMaxMessageSize, baseMessageSize)
	o.bytes(csmBlockWise, nil)
	return signal(signalCSM, token{}, o, "")
}

// signal returns a signalling message in the form of a datagram.
func signal(code Code, t token, o options, text string) []byte {
	m := &message{typ: codec.NonConfirmable, code: code, token: t, options: codec.Options(o), payload: []byte(text)}
	b, err := m.encode()
	if err != nil { // our own few options always fit
		panic(err)
	}
	return b
}

// lastWords tells the peer why we abort.
func (o *offence) lastWords() []byte {
	var list options
	if o.option != 0 {
		list.uint(abortBadCSMOption, uint32(o.option))
	}
	return signal(signalAbort, token{}, list, o.Error())
}

// signalled takes in a signalling message. Elective options that we do not
// know are ignored, Custody among them, which asks for no more than a promise;
// no critical one is known (RFC 8323 section 5.2). Codes that are not assigned
// are ignored.
func (s *Stream) signalled(m *message) error {
	for _, o := range m.options {
		if critical(o.ID) {
			bad := &offence{error: fmt.Errorf("%w: critical option %d in a signal", latchkey.ErrProtocol, o.ID)}
			if m.code == signalCSM {
				bad.option = o.ID
			}
			return bad
		}
	}
	switch m.code {
	case signalCSM:
		s.configure(m.options)
	case signalPing:
		return s.enqueue(signal(signalPong, m.token, nil, ""))
	case signalPong:
		s.pong(m.token)
	case signalRelease:
		return s.release()
	case signalAbort:
		s.log.Debug("coap connection aborted by the peer", "err", fmt.Sprintf("%.80q", m.payload))
		return ErrAborted
	}
	return nil
}

// configure takes in the peer's settings. Only one matters: blocks are never
// larger than any peer takes.
func (s *Stream) configure(list codec.Options) {
	for i, o := range list {
		if o.ID == csmMaxMessageSize && len(o.Value) <= 4 && (i == 0 || list[i-1].ID != o.ID) {
			s.mu.Lock()
			s.largest = int(min(decodeUint(o.Value), maxDatagram))
			s.mu.Unlock()
		}
	}
}

// pingToken carries the message id of an Endpoint's ping to its pong.
func pingToken(id uint16) token {
	t := token{n: 2}
	t.b[0], t.b[1] = byte(id>>8), byte(id)
	return t
}

func (s *Stream) pong(t token) {
	if t.n == 2 {
		s.Deliver(bare(codec.Reset, uint16(t.b[0])<<8|uint16(t.b[1])))
	}
}

// release ends the connection at once when no answer is due to us; else the
// peer has a while to give it.
func (s *Stream) release() error {
	if len(s.window) == 0 {
		return ErrReleased
	}
	s.released = true
	return s.conn.SetReadDeadline(time.Now().Add(releaseTime))
}
