package coap

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

const (
	maxQueued  = 1 << 20 // bytes of frames that wait for the connection
	writeChunk = 1 << 14 // a TLS record
	keptQueue  = 1 << 16 // bytes of an idle queue that stay allocated
)

// Send queues a message in the form of RFC 7252 section 3, as an Endpoint's
// Config.Send does: its type and id do not travel, acknowledgements and resets
// are swallowed, and a ping becomes a Ping. It does not block.
func (s *Stream) Send(b []byte) error {
	if len(b) < headerSize || len(b) < headerSize+int(b[0]&0xf) || len(b) > maxDatagram {
		return errNotCoAP
	}
	typ, code, id := codec.Type(b[0]>>4&3), Code(b[1]), binary.BigEndian.Uint16(b[2:])
	switch {
	case code == empty && typ == codec.Confirmable:
		return s.enqueue(signal(signalPing, pingToken(id), nil, ""))
	case code == empty:
		return nil
	case s.tooLarge(b):
		s.refuse(typ, code, id, b)
		return latchkey.ErrTooLarge
	case typ == codec.Confirmable:
		return s.enqueue(b, id)
	}
	return s.enqueue(b)
}

func (s *Stream) tooLarge(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return frameSize(b) > s.largest
}

// refuse ends what a message belongs to that the peer would not take (RFC 8323
// section 5.3.1). Who waits for an answer gets an error instead.
func (s *Stream) refuse(typ codec.Type, code Code, id uint16, b []byte) {
	if code.answers() {
		var t token
		t.n = uint8(copy(t.b[:], b[headerSize:headerSize+int(b[0]&0xf)]))
		s.log.Error("coap response exceeds what the peer takes", "code", code.String())
		_ = s.enqueue(signal(InternalServerError, t, nil, "")) // fails only when all ends
	}
	if typ != codec.Confirmable {
		return
	}
	s.Endpoint.mu.Lock()
	p := s.outbox.take(id)
	s.Endpoint.mu.Unlock()
	if p != nil {
		p.finish(latchkey.ErrTooLarge)
	}
}

// enqueue hands a message to the writer; acks are ids to acknowledge when it
// is written.
func (s *Stream) enqueue(b []byte, acks ...uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending:
		return net.ErrClosed
	case len(s.out)+frameSize(b) > maxQueued:
		s.ending, s.cause = true, fmt.Errorf("coap: peer does not listen: %w", latchkey.ErrTooMany)
		_ = s.conn.Close() // the peer takes nothing, a last word neither
		return s.cause
	}
	s.out = appendFrame(s.out, b)
	s.acks = append(s.acks, acks...)
	s.notify(s.wake)
	return nil
}

// write sends what is queued until the stream ends, and closes the connection.
func (s *Stream) write() {
	defer close(s.stopped)
	defer s.conn.Close()
	var out []byte
	var acks []uint16
	for range s.wake {
		s.mu.Lock()
		out, s.out = s.out, out[:0]
		acks, s.acks = s.acks, acks[:0]
		s.mu.Unlock()
		s.notify(s.space)
		if err := s.flush(out); err != nil {
			s.finish(fmt.Errorf("coap: write: %w", err))
			return
		}
		for _, id := range acks {
			s.Deliver(bare(codec.Acknowledgement, id))
		}
		if cap(out) > keptQueue {
			out = nil
		}
		s.mu.Lock()
		over := s.ending && len(s.out) == 0
		s.mu.Unlock()
		if over {
			s.linger()
			return
		}
	}
}

// linger gives the peer time to read the last words: to close a connection on
// which it has something to say might take them back (RFC 2525 section 2.17).
func (s *Stream) linger() {
	c, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	select {
	case <-s.deaf:
	case <-time.After(lastTime):
	}
}

// flush writes b piece by piece, so that a slow peer has time for each.
func (s *Stream) flush(b []byte) error {
	for len(b) > 0 {
		s.mu.Lock()
		if !s.ending {
			_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime)) // fails only on a closed connection
		}
		s.mu.Unlock()
		n, err := s.conn.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
