package coap

import (
	"hash/maphash"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// response takes a response message to the request or observation that waits
// for it. What nobody waits for is answered by a Reset at most, never by a
// response, so that no answer can breed another.
func (e *Endpoint) response(m *message, b []byte) {
	if m.typ == codec.Reset {
		return
	}
	e.mu.Lock()
	if m.typ == codec.Confirmable {
		if again := e.replies.find(m.id, m.token, maphash.Bytes(e.seed, b)); again != nil {
			e.mu.Unlock()
			e.send(again.answer)
			return
		}
	}
	x, w := e.exchanges[m.token], e.watches[m.token]
	if x != nil && x.answered {
		x = nil
	}
	sent, ok := e.answeredLocked(m, x)
	switch {
	case !ok:
		e.mu.Unlock()
		return
	case x == nil && w == nil, !understood(m.options):
		if w != nil {
			w.failLocked(latchkey.ErrProtocol)
		}
		e.mu.Unlock()
		e.unwanted(m, sent, x)
		return
	}
	if m.typ == codec.Confirmable {
		e.acknowledgedLocked(m, b)
	}
	if w != nil {
		w.takeLocked(m, x != nil, time.Now())
	}
	if x != nil {
		x.answered = true
	}
	conn := e.conn
	e.mu.Unlock()
	if m.typ == codec.Confirmable {
		e.send(bare(codec.Acknowledgement, m.id))
	}
	if x == nil {
		return
	}
	if sent != nil && m.typ != codec.Acknowledgement {
		// An answer in a message of its own says that the request arrived, even
		// if its acknowledgement was lost (RFC 7252 section 5.2.2).
		e.show(conn, bare(codec.Acknowledgement, x.id))
	}
	e.show(conn, b)
}

// answeredLocked ends the repetition of the message that m answers. It reports
// false for an acknowledgement of nothing.
func (e *Endpoint) answeredLocked(m *message, x *exchange) (*pending, bool) {
	id := m.id
	if m.typ != codec.Acknowledgement {
		if x == nil {
			return nil, true
		}
		id = x.id
	}
	if p := e.outbox.byID[id]; p != nil && p.token == m.token {
		return e.outbox.take(id), true
	}
	return nil, m.typ != codec.Acknowledgement
}

// acknowledgedLocked remembers that a confirmable response was acknowledged,
// for its duplicates.
func (e *Endpoint) acknowledgedLocked(m *message, b []byte) {
	r := &reply{id: m.id, token: m.token, sum: maphash.Bytes(e.seed, b), safe: true, begun: time.Now()}
	e.replies.begin(r)
	e.replies.finish(r, bare(codec.Acknowledgement, m.id))
}

// unwanted refuses a response that has no place, or that cannot be understood.
// A notification is refused even when it is non-confirmable: that is how an
// observation we do not know ends (RFC 7641 section 3.6).
func (e *Endpoint) unwanted(m *message, sent *pending, x *exchange) {
	if sent != nil {
		sent.finish(nil)
	}
	if x != nil {
		x.fail(latchkey.ErrProtocol)
	}
	if m.typ == codec.Confirmable || m.typ == codec.NonConfirmable && m.options.HasOption(codec.Observe) {
		e.send(bare(codec.Reset, m.id))
	}
}
