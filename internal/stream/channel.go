package stream

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/pion/sctp"
)

// A channel is one SCTP stream. It puts the messages of several goroutines in
// order, so that none follows the end of the payload or the end of the channel.
type channel struct {
	id   uint16
	sctp *sctp.Stream

	mu     sync.Mutex
	fin    bool // no payload may follow
	closed bool // nothing may follow
}

// payload sends one message that counts against credit.
func (c *channel) payload(b []byte, ppi sctp.PayloadProtocolIdentifier) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fin {
		return net.ErrClosed
	}
	return c.write(b, ppi)
}

// control sends one control message. After a fin no payload is sent.
func (c *channel) control(m control) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.kind == controlFin {
		c.fin = true
	}
	return c.write(m.append(make([]byte, 0, 48)), ppiText)
}

// dcep sends one message of the establishment protocol.
func (c *channel) dcep(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(b, ppiDCEP)
}

func (c *channel) write(b []byte, ppi sctp.PayloadProtocolIdentifier) error {
	if c.closed {
		return net.ErrClosed
	}
	_, err := c.sctp.WriteSCTP(b, ppi)
	return err
}

// close resets our direction once all that was sent is through (RFC 6525). The
// channel is forgotten when the peer has reset the other.
func (c *channel) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.fin, c.closed = true, true
	_ = c.sctp.Close() // fails only when the association is over
}

// last ends a channel with a message that says why.
func (c *channel) last(m control) {
	_ = c.control(m)
	c.close()
}

// A receiver takes the messages of one channel. Its methods are called by the
// channel's reader only.
type receiver interface {
	// reserve returns room for a message of n bytes.
	reserve(n int) []byte
	// receive takes the message that lies in what reserve returned. The
	// receiver that it returns takes the next one.
	receive(ppi sctp.PayloadProtocolIdentifier, b []byte) receiver
	// tooLarge says that a message above the limit was thrown away.
	tooLarge() receiver
	// ended says that the peer reset its direction of the channel.
	ended()
}

// read takes every message out of the association as it arrives, until the
// peer has reset the channel or the association is over. It is the only
// goroutine that a channel has.
func (m *Mux) read(c *channel, to receiver) {
	defer m.readers.Done()
	for {
		n, _, err := c.sctp.ReadSCTP(nil) // waits; the message stays
		switch {
		case errors.Is(err, io.ErrShortBuffer):
		case errors.Is(err, io.EOF):
			to.ended()
			c.close()
			m.forget(c)
			return
		case err != nil:
			return // the association is over, and end ends the streams
		default:
			continue // a message without a byte, which SCTP does not allow
		}
		if n > maxMessage {
			_, _, _ = c.sctp.ReadSCTP(make([]byte, n))
			to = to.tooLarge()
			continue
		}
		b := to.reserve(n)
		n, ppi, err := c.sctp.ReadSCTP(b)
		if err != nil {
			n = 0
		}
		to = to.receive(ppi, b[:n])
	}
}

// forget ends the account of a channel that the peer has reset.
func (m *Mux) forget(c *channel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.channels--
	delete(m.opening, c.id)
	if s := m.streams[c.id]; s != nil && s.c == c {
		delete(m.streams, c.id)
		if s.ticket != nil {
			s.ticket.leave()
		}
	}
}

// A discard receives what nobody wants.
type discard struct{}

func (discard) reserve(n int) []byte                                    { return make([]byte, n) }
func (discard) receive(sctp.PayloadProtocolIdentifier, []byte) receiver { return discard{} }
func (discard) tooLarge() receiver                                      { return discard{} }
func (discard) ended()                                                  {}
