package coap

import (
	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// outgoing is what one response message carries: the response's code, format
// and options, and its body or a block of it.
type outgoing struct {
	*Response
	payload        []byte
	observe        int // NoObserve: none
	block1, block2 block
	size1, size2   int // 0: not announced
}

func whole(r *Response) *outgoing {
	return &outgoing{Response: r, payload: r.Body, observe: NoObserve}
}

func refusal(code Code) *outgoing { return whole(NewResponse(code)) }

// busy asks the peer to come back after a second (RFC 8516).
func busy() *outgoing {
	r := NewResponse(TooManyRequests)
	r.Options = []Option{{MaxAge, []byte{1}}}
	SetCode(r, latchkey.CodeTooMany)
	return whole(r)
}

// tooLarge tells the peer what would fit (RFC 7959 section 2.9.3).
func (e *Endpoint) tooLarge() *outgoing {
	r := NewResponse(EntityTooLarge)
	SetCode(r, latchkey.CodeTooLarge)
	o := whole(r)
	o.size1 = e.cfg.MaxBody
	return o
}

func (o *outgoing) message(t token) *message {
	list := make(options, 0, len(o.Options)+6)
	if o.observe != NoObserve {
		list.uint(codec.Observe, uint32(o.observe))
	}
	if o.Format > 0 || len(o.payload) > 0 {
		list.format(codec.ContentFormat, o.Format)
	}
	o.block2.addTo(&list, codec.Block2)
	o.block1.addTo(&list, codec.Block1)
	if o.size2 > 0 {
		list.uint(codec.Size2, uint32(o.size2))
	}
	if o.size1 > 0 {
		list.uint(codec.Size1, uint32(o.size1))
	}
	list.extra(o.Options)
	return &message{code: o.Code, token: t, options: list.sorted(), payload: o.payload}
}

// answer sends the answer to a request and remembers it for duplicates. With
// nil, or when the peer asked for silence, a confirmable request is only
// acknowledged. It reports whether this was the first answer; others are dropped.
func (e *Endpoint) answer(j *job, o *outgoing) bool {
	if o != nil && j.last.set {
		o.block1 = j.last
	}
	quiet := o == nil || j.transfer.silences(o.Code)
	e.mu.Lock()
	if e.closed || j.answered {
		e.mu.Unlock()
		return false
	}
	j.answered = true
	delete(e.running, j.reply)
	e.held -= j.held
	watcher := e.acceptLocked(j, o)
	var data []byte
	if quiet {
		data = e.acknowledgeOnlyLocked(j.reply)
	} else {
		data = e.respondLocked(j.reply, o)
	}
	e.mu.Unlock()
	if data != nil {
		e.send(data)
	}
	if watcher != nil {
		watcher.activate()
	}
	return true
}

func (e *Endpoint) acknowledgeOnlyLocked(r *reply) []byte {
	if !r.confirmable {
		e.replies.finish(r, nil)
		return nil
	}
	ack := bare(codec.Acknowledgement, r.id)
	e.replies.finish(r, ack)
	if r.acked {
		return nil
	}
	return ack
}

// respondLocked returns the datagram that carries o: on the acknowledgement if
// that has not been sent, else in a confirmable message of its own.
func (e *Endpoint) respondLocked(r *reply, o *outgoing) []byte {
	m := o.message(r.token)
	separate := r.confirmable && r.acked
	switch {
	case r.confirmable && !r.acked:
		m.typ, m.id = codec.Acknowledgement, r.id
	case separate && !e.outbox.full():
		m.typ, m.id = codec.Confirmable, e.outbox.nextID()
	default:
		m.typ, m.id = codec.NonConfirmable, e.outbox.nextID()
	}
	data, err := m.encode()
	if err != nil || len(data) > maxDatagram {
		e.log.Error("coap response does not fit a message", "code", o.Code.String(), "err", err)
		m.code, m.options, m.payload = InternalServerError, nil, nil
		if data, err = m.encode(); err != nil {
			return nil
		}
	}
	switch m.typ {
	case codec.Acknowledgement:
		e.replies.finish(r, data)
	case codec.Confirmable:
		e.outbox.add(m.id, &pending{token: r.token, data: data})
	}
	if separate {
		e.replies.finish(r, bare(codec.Acknowledgement, r.id))
	} else if !r.confirmable {
		e.replies.finish(r, nil)
	}
	return data
}
