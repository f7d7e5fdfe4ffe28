package coap

import (
	"encoding/binary"
	"slices"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

const (
	// transferIdle is how long an unfinished block transfer is kept.
	transferIdle = 30 * time.Second
	// transferStale is when an unfinished upload may have to make room.
	transferStale = 5 * time.Second
)

// An upload is a request of which some blocks are here (RFC 7959 section 2.5).
type upload struct {
	key     string
	request Request // without its body
	body    []byte
	touched time.Time
	ended   *Response // to the next block, see Review
}

// identity spells what tells a request from others to the same peer: all but
// its body, formats of it, and the options that stand for one message only.
func (r *Request) identity() string {
	b := []byte{byte(r.Code)}
	add := func(number uint16, v []byte) {
		b = binary.BigEndian.AppendUint16(b, number)
		b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
		b = append(b, v...)
	}
	for _, s := range r.Path {
		add(uint16(codec.URIPath), []byte(s))
	}
	for _, s := range r.Query {
		add(uint16(codec.URIQuery), []byte(s))
	}
	add(uint16(codec.Accept), binary.AppendVarint(nil, int64(r.Accept)))
	for _, o := range r.Options {
		if cacheKey(o.Number) && o.Number != ETag {
			add(o.Number, o.Value)
		}
	}
	return string(b)
}

// cacheKey reports whether an option is part of the cache key (RFC 7252
// section 5.4.6).
func cacheKey(number uint16) bool { return number&0x1e != 0x1c }

// uploadLocked takes in one block of a request. It returns the answer to the
// block, or nil when the request is whole.
func (e *Endpoint) uploadLocked(j *job, now time.Time) *outgoing {
	r, b := &j.request, j.transfer.block1
	key := r.identity() + string(j.transfer.tag) + string(binary.AppendVarint(nil, int64(r.Format)))
	i := slices.IndexFunc(e.uploads, func(u *upload) bool { return u.key == key })
	switch {
	case b.offset()+len(r.Body) > e.cfg.MaxBody, uint64(j.transfer.size1) > uint64(e.cfg.MaxBody):
		e.dropUploadLocked(i)
		return e.tooLarge()
	case b.num == 0:
		e.dropUploadLocked(i)
		if !b.more {
			j.last = b
			return nil
		}
		if !e.roomLocked(now) {
			return busy()
		}
		i = len(e.uploads)
		e.uploads = append(e.uploads, &upload{key: key, request: r.head()})
	case i >= 0 && e.uploads[i].ended != nil:
		answer := e.uploads[i].ended
		e.dropUploadLocked(i)
		return whole(answer)
	case i < 0 || b.offset() != len(e.uploads[i].body):
		e.dropUploadLocked(i)
		return refusal(EntityIncomplete)
	}
	if e.held+len(r.Body) > 2*e.cfg.MaxBody {
		e.dropUploadLocked(i)
		return busy()
	}
	u := e.uploads[i]
	u.body, u.touched = append(u.body, r.Body...), now
	e.held += len(r.Body)
	if b.more {
		o := refusal(Continue)
		o.block1 = b
		return o
	}
	e.uploads = slices.Delete(e.uploads, i, i+1)
	r.Body, j.last, j.held = u.body, b, len(u.body)
	return nil
}

// roomLocked reports whether one more upload may begin. One that has rested
// for a while gives way.
func (e *Endpoint) roomLocked(now time.Time) bool {
	if len(e.uploads) < e.cfg.Uploads {
		return true
	}
	oldest := 0
	for i, u := range e.uploads {
		if u.touched.Before(e.uploads[oldest].touched) {
			oldest = i
		}
	}
	if now.Sub(e.uploads[oldest].touched) < transferStale {
		return false
	}
	e.dropUploadLocked(oldest)
	return true
}

// dropUploadLocked forgets an upload; i below 0 is none.
func (e *Endpoint) dropUploadLocked(i int) {
	if i < 0 {
		return
	}
	e.held -= len(e.uploads[i].body)
	e.uploads = slices.Delete(e.uploads, i, i+1)
}

// expireLocked drops block transfers that rest.
func (e *Endpoint) expireLocked(now time.Time) {
	for i := len(e.uploads) - 1; i >= 0; i-- {
		if now.Sub(e.uploads[i].touched) > transferIdle {
			e.dropUploadLocked(i)
		}
	}
	e.downloads = slices.DeleteFunc(e.downloads, func(d *download) bool { return now.Sub(d.touched) > transferIdle })
}
