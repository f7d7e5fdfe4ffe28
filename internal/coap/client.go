package coap

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// restarts is how often a body is fetched because it changed meanwhile.
const restarts = 3

var errChanged = fmt.Errorf("%w: the body changed while it was fetched", latchkey.ErrProtocol)

// Do sends a request and returns the whole response; a body travels in blocks
// in either direction when it must. A response code, even an error, is no
// error of Do. Errors: the cause of ctx, net.ErrClosed, ErrNoAnswer, ErrReset,
// latchkey.ErrTooLarge for a body above Config.MaxBody, latchkey.ErrProtocol
// for an answer that makes no sense. Once the peer has acknowledged a request,
// only ctx limits how long Do waits for the answer.
//
// Do ignores r.Observe. It does not modify r.
func (e *Endpoint) Do(ctx context.Context, r *Request) (*Response, error) {
	if r.Code == empty || r.Code.Class() != 0 {
		return nil, fmt.Errorf("coap: %v is no method", r.Code)
	}
	if len(r.Body) > e.cfg.MaxBody {
		return nil, latchkey.ErrTooLarge
	}
	p := e.newPart(r)
	first, err := e.put(ctx, r, p)
	if err != nil {
		return nil, err
	}
	return e.get(ctx, r, p, first)
}

// newPart returns what all messages of a request have in common.
func (e *Endpoint) newPart(r *Request) part {
	p := part{observe: NoObserve}
	if r.Code != GET && r.Code != DELETE {
		p.tag = e.newTag()
	}
	if e.szx < largestExponent {
		p.block2 = block{set: true, szx: e.szx}
	}
	return p
}

// newTag returns a Request-Tag that differs from those of concurrent requests.
func (e *Endpoint) newTag() []byte {
	return bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, e.tags.Add(1)), "\x00")
}

// put sends a request with its body and returns the answer to it, or to the
// block with which the peer ended it.
func (e *Endpoint) put(ctx context.Context, r *Request, p part) (*answer, error) {
	if len(r.Body) <= 1<<(e.szx+4) {
		p.body = r.Body
		return e.exchange(ctx, r, p)
	}
	szx := e.szx
	for from := 0; ; {
		b := block{set: true, szx: szx, num: uint32(from >> (szx + 4))}
		to := min(from+b.size(), len(r.Body))
		b.more = to < len(r.Body)
		one := p
		one.block1, one.body = b, r.Body[from:to]
		if from == 0 {
			one.size1 = len(r.Body)
		}
		if b.more {
			one.block2 = block{}
		}
		a, err := e.exchange(ctx, r, one)
		switch {
		case err != nil:
			return nil, err
		case from == 0 && a.Code == EntityTooLarge && a.block1.set && a.block1.szx < szx:
			szx = a.block1.szx // begin again with smaller blocks (RFC 7959 section 2.9.3)
			continue
		case !b.more || a.Code.Class() != 2 || !a.block1.set:
			return a, nil
		case a.block1.num != b.num && a.block1.offset() != from:
			return nil, fmt.Errorf("%w: another block was acknowledged than sent", latchkey.ErrProtocol)
		}
		szx = min(szx, a.block1.szx)
		from = to
	}
}

// get fetches the rest of a body whose first block is here.
func (e *Endpoint) get(ctx context.Context, r *Request, p part, first *answer) (*Response, error) {
	if !first.block2.more {
		return first.Response, nil
	}
	p.observe, p.block1, p.size1, p.token = NoObserve, block{}, 0, token{}
	p.body = nil
	if r.Code == FETCH && len(r.Body) <= largestBlock {
		p.body = r.Body // part of what names the resource (RFC 8132 section 2)
	}
	for range restarts {
		got, whole, err := e.rest(ctx, r, p, first)
		if err != nil || whole {
			return got, err
		}
		if r.Code != GET && r.Code != FETCH {
			break
		}
		p.block2 = block{set: true, szx: first.block2.szx}
		if first, err = e.exchange(ctx, r, p); err != nil {
			return nil, err
		}
	}
	return nil, errChanged
}

// rest appends block to block. It reports false when the representation
// changed in between.
func (e *Endpoint) rest(ctx context.Context, r *Request, p part, first *answer) (*Response, bool, error) {
	all, last := *first.Response, first
	for last.block2.more {
		if last.block2.offset()+last.block2.size() != len(all.Body) {
			return nil, false, fmt.Errorf("%w: block of another size or place than announced", latchkey.ErrProtocol)
		}
		if len(all.Body) >= e.cfg.MaxBody || uint64(last.size2) > uint64(e.cfg.MaxBody) {
			return nil, false, latchkey.ErrTooLarge
		}
		szx := min(last.block2.szx, e.szx)
		p.block2 = block{set: true, szx: szx, num: uint32(len(all.Body) >> (szx + 4))}
		next, err := e.exchange(ctx, r, p)
		switch {
		case err != nil:
			return nil, false, err
		case next.Code != first.Code && next.Code.Class() != 2:
			return next.Response, true, nil
		case next.Code != first.Code || !bytes.Equal(next.etag, first.etag):
			return nil, false, nil
		case !next.block2.set || next.block2.offset() != len(all.Body):
			return nil, false, fmt.Errorf("%w: another block than asked for", latchkey.ErrProtocol)
		}
		all.Body = append(all.Body, next.Body...)
		last = next
	}
	if len(all.Body) > e.cfg.MaxBody {
		return nil, false, latchkey.ErrTooLarge
	}
	return &all, true, nil
}
