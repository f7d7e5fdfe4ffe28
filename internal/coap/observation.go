package coap

import (
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// An Observation is the peer's standing interest in one resource (RFC 7641).
// Its methods may be called from several goroutines, and before the Handler
// that got it has returned.
type Observation struct {
	e     *Endpoint
	token token
	of    resource
	head  Request // the registration, without its body
	want  block   // block size that the peer asked for
	done  chan struct{}

	// guarded by e.mu
	active bool // the answer to the registration has been sent
	ended  bool
	next   *Response // latest state, not sent yet
	sent   *pending  // notification without acknowledgement
}

// enrolLocked lets a request begin, replace or end an observation. A plain
// request with the token of an observation ends it (RFC 7641 section 3.6),
// unless it fetches a further block of a notification.
func (e *Endpoint) enrolLocked(j *job, t token) {
	r := &j.request
	if r.Code != GET && r.Code != FETCH || j.transfer.block2.num > 0 {
		return
	}
	if old := e.observations[t]; old != nil {
		old.endLocked()
	}
	if r.Observe != 0 || len(e.observations) >= e.cfg.Observations {
		return
	}
	o := &Observation{e: e, token: t, want: j.transfer.block2, done: make(chan struct{})}
	o.of, o.head = e.resource(r, j.transfer.tag), r.head()
	o.head.Observation = o
	e.observations[t] = o
	r.Observation = o
}

// acceptLocked decides, by the answer to a registration, whether an
// observation begins.
func (e *Endpoint) acceptLocked(j *job, out *outgoing) *Observation {
	o := j.request.Observation
	if o == nil || o.ended {
		return nil
	}
	if out == nil || out.Observe < 0 || out.Code.Class() != 2 {
		o.endLocked()
		return nil
	}
	out.observe = e.nextSequenceLocked()
	return o
}

// nextSequenceLocked numbers all notifications of the session, so that a peer
// which registers anew with the same token sees them in order.
func (e *Endpoint) nextSequenceLocked() int {
	e.sequence = (e.sequence + 1) & 0xffffff
	return int(e.sequence)
}

// Notify sends r, which must not be modified any more, as the present state.
// While an earlier notification is unacknowledged the latest state waits and
// takes its place (RFC 7641 section 4.5.2). A response that is not a success
// goes out at once and ends the observation. Notify does not block.
func (o *Observation) Notify(r *Response) {
	if err := o.e.sendable(r); err != nil {
		o.e.log.Error("coap notification failed", "err", err)
		r = NewResponse(InternalServerError)
	}
	o.e.mu.Lock()
	if o.ended || o.endingLocked() {
		o.e.mu.Unlock()
		return
	}
	o.next = r
	if r.Code.Class() != 2 {
		o.withdrawLocked()
	}
	data := o.flushLocked()
	o.e.mu.Unlock()
	if data != nil {
		o.e.send(data)
	}
}

// Done is closed when the observation has ended: the peer deregistered,
// rejected a notification or stopped acknowledging them, the Handler declined,
// or the endpoint was closed.
func (o *Observation) Done() <-chan struct{} { return o.done }

// Close ends the observation without telling the peer. To tell it why, Notify
// an error before, or instead.
func (o *Observation) Close() {
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	if !o.endingLocked() {
		o.endLocked()
	}
}

// endingLocked reports whether an error waits for the answer to the registration,
// and ends the observation once that is sent.
func (o *Observation) endingLocked() bool { return o.next != nil && o.next.Code.Class() != 2 }

// activate lets notifications out, once the answer to the registration is sent.
func (o *Observation) activate() {
	o.e.mu.Lock()
	o.active = true
	data := o.flushLocked()
	o.e.mu.Unlock()
	if data != nil {
		o.e.send(data)
	}
}

// flushLocked returns the datagram of a notification that may go out now.
func (o *Observation) flushLocked() []byte {
	if o.ended || !o.active || o.sent != nil || o.next == nil {
		return nil
	}
	p := &pending{token: o.token, over: o.over, renew: o.renewLocked}
	o.sent = p
	m := o.messageLocked()
	m.typ, m.id = codec.Confirmable, o.e.outbox.nextID()
	data, err := m.encode()
	if err != nil {
		o.e.log.Error("coap notification does not fit a message", "err", err)
		o.endLocked()
		return nil
	}
	p.data = data
	o.e.outbox.add(m.id, p)
	return data
}

// messageLocked makes a notification of the latest state.
func (o *Observation) messageLocked() *message {
	r := o.next
	o.next = nil
	out := whole(r)
	if len(r.Body) > 1<<(o.e.exponent(o.want)+4) {
		d := &download{of: o.of, request: o.head, response: o.e.tagged(r), touched: time.Now()}
		o.e.keepLocked(d)
		out = o.e.cutLocked(d.response, block{set: true, szx: o.e.exponent(o.want)}, o.of)
	}
	if r.Code.Class() == 2 {
		out.observe = o.e.nextSequenceLocked()
	} else {
		o.endLocked() // the message itself is not in the outbox yet, and stays
	}
	return out.message(o.token)
}

// renewLocked replaces a notification that was not acknowledged by a newer one.
func (o *Observation) renewLocked() *message {
	if o.ended || o.next == nil {
		return nil
	}
	return o.messageLocked()
}

// over is called when a notification was acknowledged, or never will be.
func (o *Observation) over(err error) {
	o.e.mu.Lock()
	o.sent = nil
	if err != nil {
		o.endLocked()
	}
	data := o.flushLocked()
	o.e.mu.Unlock()
	if data != nil {
		o.e.send(data)
	}
}

// endLocked ends the observation and stops repeating its notification.
func (o *Observation) endLocked() {
	if o.ended {
		return
	}
	o.ended = true
	o.next = nil
	if o.e.observations[o.token] == o {
		delete(o.e.observations, o.token)
	}
	o.withdrawLocked()
	close(o.done)
}

// withdrawLocked stops the repetition of the last notification.
func (o *Observation) withdrawLocked() {
	if o.sent != nil {
		o.e.outbox.drop(o.sent)
		o.sent = nil
	}
}
