package coap

import (
	"errors"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// A job is one message of the peer that asks for something.
type job struct {
	reply    *reply
	request  Request
	transfer transfer
	last     block // Block1 of a request that is whole, for the answer
	held     int   // bytes of an assembled body
	begun    int   // Endpoint.reviews when it began
	answered bool  // guarded by Endpoint.mu
}

// request serves a request message, or the duplicate of one.
func (e *Endpoint) request(m *message, b []byte) {
	if m.typ > codec.NonConfirmable {
		return
	}
	now := time.Now()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	j, repeated := e.beginLocked(m, b, now)
	if j == nil {
		e.mu.Unlock()
		if repeated != nil {
			e.send(repeated)
		}
		return
	}
	early := e.admitLocked(j, m, now)
	e.mu.Unlock()
	if early == nil && !e.workers.do(func() { e.serve(j) }) {
		early = busy()
	}
	if early != nil {
		e.answer(j, early)
	}
}

// refuse answers a request that is not looked at any further.
func (e *Endpoint) refuse(m *message, b []byte, code Code) {
	e.mu.Lock()
	j, repeated := e.beginLocked(m, b, time.Now())
	e.mu.Unlock()
	switch {
	case j != nil:
		e.answer(j, refusal(code))
	case repeated != nil:
		e.send(repeated)
	}
}

// beginLocked starts the reply to a message, or returns what its duplicate is
// answered with: the answer again, or an empty acknowledgement while there is
// none yet. Duplicates of non-confirmable messages are ignored.
func (e *Endpoint) beginLocked(m *message, b []byte, now time.Time) (*job, []byte) {
	sum := maphash.Bytes(e.seed, b)
	if again := e.replies.find(m.id, m.token, sum); again != nil {
		if again.confirmable && again.running {
			again.acked = true
			return nil, bare(codec.Acknowledgement, m.id)
		}
		return nil, again.answer
	}
	r := &reply{
		id: m.id, token: m.token, sum: sum,
		confirmable: m.typ == codec.Confirmable,
		safe:        m.code == GET || m.code == FETCH,
		running:     true,
		begun:       now,
	}
	e.replies.begin(r)
	e.running[r] = struct{}{}
	return &job{reply: r, begun: e.reviews}, nil
}

// admitLocked decides whether a request goes to the Handler. Otherwise it
// returns the answer: to what may not be served, to a block of a request that
// is not whole yet, or a further block of an answer given before.
func (e *Endpoint) admitLocked(j *job, m *message, now time.Time) *outgoing {
	r := &j.request
	if code := j.read(m, e.cfg.Critical); code != 0 {
		return refusal(code)
	}
	switch {
	case r.Code > IPATCH:
		return refusal(MethodNotAllowed)
	case j.transfer.block1.set:
		if early := e.uploadLocked(j, now); early != nil {
			return early
		}
	case len(r.Body) > e.cfg.MaxBody:
		return e.tooLarge()
	}
	if j.held == 0 {
		r.Body = append([]byte(nil), r.Body...)
	}
	r.endpoint, r.job = e, j
	e.enrolLocked(j, m.token)
	if j.transfer.block2.num > 0 {
		return e.resumeLocked(j, now)
	}
	return nil
}

// serve runs the Handler. It is called on a worker.
func (e *Endpoint) serve(j *job) {
	response, err := e.call(&j.request)
	if err != nil {
		e.log.Error("coap handler failed", "err", err)
		response = NewResponse(InternalServerError)
		SetCode(response, latchkey.CodeInternal)
	}
	if response == nil {
		e.answer(j, nil)
		return
	}
	e.answer(j, e.firstBlock(j, response, false))
}

// Answer answers a request before its Handler has returned; what that returns is
// dropped. It reports false if the request was answered before, or is not one
// that a Handler was called for. All of a body goes out, also if Review was called
// since the request began: to what has changed something the peer cannot ask
// anew. Answer does not block.
func (r *Request) Answer(m *Response) bool {
	if r.job == nil {
		return false
	}
	e := r.endpoint
	if err := e.sendable(m); err != nil || m == nil {
		return false
	}
	return e.answer(r.job, e.firstBlock(r.job, m, true))
}

// call runs the Handler; a panic costs this request only.
func (e *Endpoint) call(r *Request) (response *Response, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if e.cfg.Handler == nil {
		return NewResponse(NotFound), nil
	}
	response = e.cfg.Handler(e.ctx, r)
	return response, e.sendable(response)
}

// sendable reports what makes a response unfit to be sent.
func (e *Endpoint) sendable(r *Response) error {
	switch {
	case r == nil:
		return nil
	case !r.Code.answers():
		return fmt.Errorf("%v is no response code", r.Code)
	case len(r.Body) > e.cfg.MaxBody:
		return errors.New("response exceeds the largest body")
	}
	return nil
}

// slowLocked acknowledges requests whose answer takes long, so that the peer
// stops repeating them; their answers follow in messages of their own.
func (e *Endpoint) slowLocked(now time.Time) [][]byte {
	var out [][]byte
	for r := range e.running {
		if r.confirmable && !r.acked && now.Sub(r.begun) >= e.cfg.AckTimeout/2 {
			r.acked = true
			out = append(out, bare(codec.Acknowledgement, r.id))
		}
	}
	return out
}
