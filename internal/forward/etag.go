package forward

import (
	"crypto/sha256"
	"strings"
	"sync"

	"github.com/latchkey-dev/latchkey/internal/coap"
)

const (
	maxETag  = 8    // bytes of a CoAP entity-tag (RFC 7252 section 5.10.6)
	maxETags = 1024 // long HTTP entity-tags that are remembered
)

// etags translates entity-tags. A strong HTTP tag of up to 8 characters is the
// same in CoAP. Longer and weak ones are hashed, and remembered so that a
// client can send the hash back.
type etags struct {
	mu   sync.Mutex
	long map[string]string // CoAP tag to HTTP tag
}

// toCoAP returns the CoAP tag for an HTTP tag, false when it is not one.
func (e *etags) toCoAP(tag string) ([]byte, bool) {
	opaque, weak := strings.CutPrefix(tag, "W/")
	if len(opaque) < 3 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' || !validTag(opaque[1:len(opaque)-1]) {
		return nil, false
	}
	opaque = opaque[1 : len(opaque)-1]
	if !weak && len(opaque) <= maxETag {
		return []byte(opaque), true
	}
	sum := sha256.Sum256([]byte(tag))
	short := sum[:maxETag]
	e.remember(string(short), tag)
	return short, true
}

func (e *etags) remember(short, tag string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.long == nil {
		e.long = map[string]string{}
	}
	if _, known := e.long[short]; !known && len(e.long) >= maxETags {
		for other := range e.long { // any one: whoever holds it fetches anew
			delete(e.long, other)
			break
		}
	}
	e.long[short] = tag
}

// toHTTP returns the HTTP tag for a CoAP tag, false when it cannot be known.
func (e *etags) toHTTP(tag []byte) (string, bool) {
	e.mu.Lock()
	long, ok := e.long[string(tag)]
	e.mu.Unlock()
	if ok {
		return long, true
	}
	if len(tag) == 0 || len(tag) > maxETag || !validTag(string(tag)) {
		return "", false
	}
	return `"` + string(tag) + `"`, true
}

// validTag reports whether s may stand between quotes (RFC 9110 section 8.8.3).
func validTag(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

// list translates every option of that number; known is false when one of them
// cannot be translated. An empty value means any representation.
func (e *etags) list(r *coap.Request, number uint16) (tags []string, known bool) {
	known = true
	for _, o := range r.Options {
		if o.Number != number {
			continue
		}
		if len(o.Value) == 0 {
			return []string{"*"}, true
		}
		if tag, ok := e.toHTTP(o.Value); ok {
			tags = append(tags, tag)
		} else {
			known = false
		}
	}
	return tags, known
}
