package coap

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"time"
)

// A download is a whole response that goes out in blocks (RFC 7959 section 2.4).
type download struct {
	of       resource
	request  Request   // without its body; of a notification, the registration
	response *Response // with an ETag
	touched  time.Time
	ended    bool // response answers the next block, whichever it is; see Review
}

// A resource says which request a download answers.
type resource struct {
	key string
	tag string
	sum uint64 // of the request's body; 0 without
}

func (e *Endpoint) resource(r *Request, tag []byte) resource {
	of := resource{key: r.identity(), tag: string(tag)}
	if len(r.Body) > 0 {
		of.sum = maphash.Bytes(e.seed, r.Body)
	}
	return of
}

// matches reports whether a request for a further block can mean d. Such a
// request may leave out the body, and the tag if the blocks are not ambiguous.
func (d *download) matches(want resource) bool {
	return d.of.key == want.key &&
		(want.tag == "" || want.tag == d.of.tag) &&
		(want.sum == 0 || want.sum == d.of.sum)
}

// firstBlock prepares a response of the Handler: whole if it fits a block, else
// the block that was asked for, and the rest is kept: if certain, whatever was
// reviewed since the job began.
func (e *Endpoint) firstBlock(j *job, r *Response, certain bool) *outgoing {
	want := j.transfer.block2
	if fits := len(r.Body) <= 1<<(e.exponent(want)+4); fits && (want.num == 0 || r.Code.Class() != 2) {
		o := whole(r)
		if want.set && len(r.Body) > 0 {
			o.block2 = block{set: true, szx: e.exponent(want)}
		}
		return o
	}
	tagged := e.tagged(r)
	of := e.resource(&j.request, j.transfer.tag)
	e.mu.Lock()
	defer e.mu.Unlock()
	if (certain || j.begun == e.reviews) && !j.answered {
		e.keepLocked(&download{of: of, request: j.request.head(), response: tagged, touched: time.Now()})
	}
	return e.cutLocked(tagged, want, of)
}

// exponent returns the size exponent of blocks for a peer that wants b.
func (e *Endpoint) exponent(b block) uint8 {
	if b.set {
		return min(b.szx, e.szx)
	}
	return e.szx
}

// tagged returns r with an ETag, which lets the peer see that all blocks are
// of one representation.
func (e *Endpoint) tagged(r *Response) *Response {
	if _, ok := r.Option(ETag); ok {
		return r
	}
	with := *r
	tag := binary.BigEndian.AppendUint64(nil, maphash.Bytes(e.seed, r.Body))
	with.Options = append(slices.Clip(r.Options), Option{ETag, tag})
	return &with
}

// keepLocked stores a download in place of an older one for the same request,
// or of the one not touched for longest.
func (e *Endpoint) keepLocked(d *download) {
	e.downloads = slices.DeleteFunc(e.downloads, func(old *download) bool { return old.of == d.of })
	if len(e.downloads) >= e.cfg.Downloads {
		e.downloads = slices.Delete(e.downloads, 0, 1)
	}
	e.downloads = append(e.downloads, d)
}

// cutLocked returns one block of a kept response. After the last one the
// response is kept no longer.
func (e *Endpoint) cutLocked(r *Response, want block, of resource) *outgoing {
	b := block{set: true, szx: e.exponent(want), num: want.num}
	if want.set && want.szx > b.szx {
		b.num <<= want.szx - b.szx
	}
	from := b.offset()
	if from >= len(r.Body) || b.num > maxBlockNumber {
		return refusal(BadRequest)
	}
	to := min(from+b.size(), len(r.Body))
	b.more = to < len(r.Body)
	o := &outgoing{Response: r, payload: r.Body[from:to], observe: NoObserve, block2: b}
	if from == 0 {
		o.size2 = len(r.Body)
	}
	if !b.more {
		e.downloads = slices.DeleteFunc(e.downloads, func(d *download) bool { return d.of == of })
	}
	return o
}

// resumeLocked answers a request for a further block from what is kept. Nil
// sends the request to the Handler again; that is for methods only that may
// run twice.
func (e *Endpoint) resumeLocked(j *job, now time.Time) *outgoing {
	want := e.resource(&j.request, j.transfer.tag)
	for i, d := range slices.Backward(e.downloads) {
		if !d.matches(want) {
			continue
		}
		if d.ended {
			e.downloads = slices.Delete(e.downloads, i, i+1)
			return whole(d.response)
		}
		d.touched = now
		e.downloads = append(slices.Delete(e.downloads, i, i+1), d)
		return e.cutLocked(d.response, j.transfer.block2, d.of)
	}
	if j.request.Code == GET || j.request.Code == FETCH && len(j.request.Body) > 0 {
		return nil
	}
	return refusal(EntityIncomplete)
}
