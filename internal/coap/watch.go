package coap

import (
	"context"
	"errors"
	"net"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"

	"github.com/latchkey-dev/latchkey"
)

// A watch is an observation of ours. The goroutine in Observe works on it;
// notifications leave their latest state in it.
type watch struct {
	wake    chan struct{} // has an element when latest changed
	ordered bool          // what carries notifications keeps their order

	// guarded by Endpoint.mu
	latest *answer
	seen   bool
	number int       // Observe value of the newest notification
	at     time.Time // when it came
	last   bool      // latest ends the observation
	err    error     // why it cannot go on
}

// takeLocked takes in a notification unless a newer one came before (RFC 7641
// section 3.4). The answer to the registration itself is only counted: it
// comes back from the exchange.
func (w *watch) takeLocked(m *message, registration bool, now time.Time) {
	if w.last {
		return
	}
	a := readAnswer(m.code, m.options, m.payload)
	ends := a.Observe == NoObserve || a.Code.Class() != 2
	if !ends && !w.ordered && !w.newer(a.Observe, now) {
		return
	}
	if !ends {
		w.seen, w.number, w.at = true, a.Observe, now
	}
	if registration {
		return
	}
	w.latest, w.last = a, ends
	w.wakeUp()
}

// failLocked ends the watch with an error.
func (w *watch) failLocked(err error) {
	w.err = err
	w.wakeUp()
}

func (w *watch) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// newer compares in a circle of 24 bits; after 128 s anything is newer.
func (w *watch) newer(number int, now time.Time) bool {
	const half = 1 << 23
	ahead := (number - w.number) & (2*half - 1)
	return !w.seen || 0 < ahead && ahead < half || now.Sub(w.at) > 128*time.Second
}

// Observe registers for the resource of r, a GET or FETCH, and calls fn with
// each new representation, whole, on the caller's goroutine. While fn runs,
// newer states replace older ones; the latest is never lost.
//
// It returns nil when the peer ended the observation, or never began it: by an
// answer that is an error or without an Observe option, which fn got as the
// last one. Otherwise it returns the cause of ctx, after telling the peer, or
// an error as Do does. The body of a FETCH must fit one block.
func (e *Endpoint) Observe(ctx context.Context, r *Request, fn func(*Response)) error {
	if len(r.Body) > 1<<(e.szx+4) {
		return latchkey.ErrTooLarge
	}
	w := &watch{wake: make(chan struct{}, 1), ordered: e.ordered}
	p := e.newPart(r)
	p.observe, p.token, p.body = 0, newToken(), r.Body
	e.mu.Lock()
	e.watches[p.token] = w
	e.mu.Unlock()
	first, err := e.exchange(ctx, r, p)
	if err == nil {
		ends := first.Observe == NoObserve || first.Code.Class() != 2
		err = e.follow(ctx, r, p, w, first, ends, fn)
	}
	e.mu.Lock()
	delete(e.watches, p.token)
	over := w.last
	e.mu.Unlock()
	if err != nil && !over {
		e.deregister(r, p)
	}
	return err
}

// follow calls fn with the first answer and what comes after it.
func (e *Endpoint) follow(ctx context.Context, r *Request, p part, w *watch, a *answer, last bool, fn func(*Response)) error {
	for {
		if a != nil {
			switch full, err := e.get(ctx, r, p, a); {
			case err == nil:
				full.Observe = a.Observe // lost if the body was fetched anew
				fn(full)
			case !errors.Is(err, errChanged): // if it is, the next notification is under way
				return err
			}
		}
		if last {
			return nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.ctx.Done():
			return net.ErrClosed
		}
		e.mu.Lock()
		a, last = w.latest, w.last
		w.latest = nil
		err := w.err
		e.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// deregister tells the peer that nobody listens any more (RFC 7641 section
// 3.6). It does not wait; a peer that misses it learns by a Reset.
func (e *Endpoint) deregister(r *Request, p part) {
	p.observe = 1
	m := &message{typ: codec.Confirmable, code: r.Code, token: p.token, options: requestOptions(r, p), payload: p.body}
	e.mu.Lock()
	if e.closed || e.outbox.full() {
		e.mu.Unlock()
		return
	}
	m.id = e.outbox.nextID()
	data, err := m.encode()
	if err != nil {
		e.mu.Unlock()
		return
	}
	e.outbox.add(m.id, &pending{token: m.token, data: data})
	e.mu.Unlock()
	e.send(data)
}
