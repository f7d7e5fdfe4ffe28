package coap

import "time"

const (
	// exchangeLifetime is how long a message may be repeated and still be a
	// duplicate (RFC 7252 section 4.8.2).
	exchangeLifetime = 247 * time.Second
	// replyEntries keeps the memory below half the circle of message ids, so
	// that a peer who reuses its token for everything is still understood.
	replyEntries = 1 << 14
	// replyBytes bounds each of the two memories.
	replyBytes = 1 << 20
	// replyCost is what one reply weighs beside its answer.
	replyCost = 128
)

// A reply remembers one message of the peer and what was answered.
type reply struct {
	id          uint16
	token       token
	sum         uint64 // of the whole datagram
	confirmable bool
	safe        bool // to run twice would be harmless
	running     bool // no answer yet
	acked       bool // an empty acknowledgement was sent before the answer
	forgotten   bool
	begun       time.Time
	answer      []byte // the datagram that answers every duplicate; nil: none
}

// replies is the memory against duplicates. Each message id stands for the
// latest message that used it; the oldest finished replies are forgotten when
// room is needed. What has an effect is remembered apart from what has none,
// so that a burst of reads does not push out the memory of a write.
type replies struct {
	byID         map[uint16]*reply
	safe, unsafe replyQueue
}

type replyQueue struct {
	list  []*reply // oldest first
	bytes int
}

func (q *replyQueue) pop() *reply {
	e := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return e
}

// find returns the reply to a message that is byte for byte the same.
func (r *replies) find(id uint16, t token, sum uint64) *reply {
	if e := r.byID[id]; e != nil && e.token == t && e.sum == sum {
		return e
	}
	return nil
}

// begin remembers a message that is now being answered.
func (r *replies) begin(e *reply) {
	if r.byID == nil {
		r.byID = make(map[uint16]*reply)
	}
	r.byID[e.id] = e
	q := r.queue(e)
	q.list = append(q.list, e)
	q.bytes += replyCost
	r.trim(q)
}

// finish records the answer that duplicates get.
func (r *replies) finish(e *reply, answer []byte) {
	e.running = false
	e.answer = answer
	if e.forgotten {
		return
	}
	q := r.queue(e)
	q.bytes += len(answer)
	r.trim(q)
}

func (r *replies) queue(e *reply) *replyQueue {
	if e.safe {
		return &r.safe
	}
	return &r.unsafe
}

// trim forgets the oldest finished replies until the queue keeps its bounds.
// Those still running are few, at most one for each worker and queue place.
func (r *replies) trim(q *replyQueue) {
	for range len(q.list) {
		if q.bytes <= replyBytes && len(q.list) <= replyEntries {
			return
		}
		oldest := q.pop()
		if oldest.running {
			q.list = append(q.list, oldest)
			continue
		}
		r.forget(q, oldest)
	}
}

func (r *replies) forget(q *replyQueue, e *reply) {
	e.forgotten = true
	q.bytes -= replyCost + len(e.answer)
	if r.byID[e.id] == e {
		delete(r.byID, e.id)
	}
}

// expire forgets what can no longer be repeated.
func (r *replies) expire(now time.Time) {
	for _, q := range []*replyQueue{&r.safe, &r.unsafe} {
		for len(q.list) > 0 && !q.list[0].running && now.Sub(q.list[0].begun) > exchangeLifetime {
			r.forget(q, q.pop())
		}
		if len(q.list) == 0 {
			q.list = nil
		}
	}
	if len(r.byID) == 0 {
		r.byID = nil
	}
}
