package coap

import (
	"errors"
	"math/rand/v2"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// Transmission parameters (RFC 7252 section 4.8).
const (
	ackTimeout    = 2 * time.Second
	randomFactor  = 1.5
	maxRetransmit = 4
)

// maxSeparate bounds the answers that wait for an acknowledgement. Beyond it
// answers go out once, non-confirmable.
const maxSeparate = 256

var (
	// ErrNoAnswer reports a message that was sent five times and never
	// acknowledged.
	ErrNoAnswer = errors.New("coap: peer does not answer")
	// ErrReset reports a peer that rejected a message with Reset: it could not
	// make sense of it.
	ErrReset = errors.New("coap: peer rejected the message")
)

// A pending message is repeated until it is acknowledged.
type pending struct {
	id    uint16
	token token
	data  []byte
	due   time.Time     // of the next repetition
	wait  time.Duration // between the last transmission and due
	sent  int
	// over is called once, without the endpoint's lock: nil says acknowledged.
	over func(error)
	// renew, when not nil, is called with the lock before a repetition and may
	// return a message that takes the place of data.
	renew func() *message
}

func (p *pending) finish(err error) {
	if p.over != nil {
		p.over(err)
	}
}

// outbox holds our unacknowledged confirmable messages by message id.
type outbox struct {
	byID   map[uint16]*pending
	lastID uint16
	wait   time.Duration // ACK_TIMEOUT
}

func newOutbox(wait time.Duration) outbox {
	return outbox{byID: make(map[uint16]*pending), lastID: uint16(rand.Uint32()), wait: wait}
}

// nextID returns an id that no unacknowledged message uses. Ids follow each
// other, so that one is used again as late as possible.
func (o *outbox) nextID() uint16 {
	for {
		o.lastID++
		if _, used := o.byID[o.lastID]; !used {
			return o.lastID
		}
	}
}

// full reports whether nothing more should wait that can do without.
func (o *outbox) full() bool { return len(o.byID) >= maxSeparate }

// add begins to wait for the acknowledgement of a message that is sent now.
func (o *outbox) add(id uint16, p *pending) {
	p.wait = time.Duration(float64(o.wait) * (1 + (randomFactor-1)*rand.Float64()))
	p.due = time.Now().Add(p.wait)
	p.sent = 1
	p.id = id
	o.byID[id] = p
}

// take removes the pending message that an acknowledgement or reset names.
func (o *outbox) take(id uint16) *pending {
	p := o.byID[id]
	delete(o.byID, id)
	return p
}

// drop stops the repetition of p.
func (o *outbox) drop(p *pending) {
	if o.byID[p.id] == p {
		delete(o.byID, p.id)
	}
}

// due returns what to send again at now, and removes and returns what was sent
// often enough.
func (o *outbox) due(now time.Time) (repeat [][]byte, lost []*pending) {
	for id, p := range o.byID {
		if now.Before(p.due) {
			continue
		}
		if p.sent > maxRetransmit {
			delete(o.byID, id)
			lost = append(lost, p)
			continue
		}
		p.sent++
		p.wait *= 2
		p.due = now.Add(p.wait)
		o.refresh(p)
		repeat = append(repeat, p.data)
	}
	return repeat, lost
}

// refresh lets newer content take the place of a message under a new id, while
// the count of transmissions goes on (RFC 7641 section 4.5.2).
func (o *outbox) refresh(p *pending) {
	if p.renew == nil {
		return
	}
	m := p.renew()
	if m == nil {
		return
	}
	m.typ, m.id = codec.Confirmable, o.nextID()
	data, err := m.encode()
	if err != nil {
		return
	}
	o.drop(p)
	p.id, p.data = m.id, data
	o.byID[p.id] = p
}
