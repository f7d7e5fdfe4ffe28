package coap

import (
	"bytes"
	"slices"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// A transfer is what a request says about blocks and about its answer.
type transfer struct {
	block1, block2 block
	size1          uint32
	tag            []byte // Request-Tag
	quiet          uint32 // No-Response (RFC 7967): 2, 8 and 16 silence classes 2, 4 and 5
}

// silences reports whether the peer does not want an answer with this code.
func (t *transfer) silences(c Code) bool { return c != Continue && t.quiet>>(c.Class()-1)&1 == 1 }

// read turns a message into the request of a job, whose Body still belongs to
// the datagram. A code other than 0 is the answer to a request that may not be
// served. understood lists further critical options.
func (j *job) read(m *message, understood []uint16) Code {
	r := &j.request
	*r = Request{Code: m.code, Format: NoFormat, Accept: NoFormat, Observe: NoObserve, Body: m.payload}
	for i, o := range m.options {
		switch {
		case o.ID == codec.ProxyURI || o.ID == codec.ProxyScheme:
			return ProxyingNotSupported
		case !proper(m.options, i):
			if critical(o.ID) {
				return BadOption
			}
		case managed(o.ID):
			r.read(o, &j.transfer)
		case critical(o.ID) && o.ID != codec.URIHost && o.ID != codec.URIPort && !slices.Contains(understood, uint16(o.ID)):
			return BadOption
		default:
			r.Options = append(r.Options, exported(o))
		}
	}
	return j.transfer.check(r)
}

// read takes in one managed option.
func (r *Request) read(o codec.Option, t *transfer) {
	switch o.ID {
	case codec.URIPath:
		r.Path = append(r.Path, string(o.Value))
	case codec.URIQuery:
		r.Query = append(r.Query, string(o.Value))
	case codec.ContentFormat:
		r.Format = Format(decodeUint(o.Value))
	case codec.Accept:
		r.Accept = Format(decodeUint(o.Value))
	case codec.Observe:
		if v := decodeUint(o.Value); v <= 1 && (r.Code == GET || r.Code == FETCH) {
			r.Observe = int(v)
		}
	case codec.Block1:
		t.block1 = decodeBlock(o.Value)
	case codec.Block2:
		t.block2 = decodeBlock(o.Value)
	case codec.Size1:
		t.size1 = decodeUint(o.Value)
	case codec.NoResponse:
		t.quiet = decodeUint(o.Value)
	case requestTag:
		t.tag = bytes.Clone(o.Value)
	}
}

// check judges the block options against the payload (RFC 7959 section 2.3).
func (t *transfer) check(r *Request) Code {
	b := t.block1
	switch {
	case b.set && !b.valid(), t.block2.set && !t.block2.valid():
		return BadRequest
	case b.set && b.more && len(r.Body) != b.size(), b.set && len(r.Body) > b.size():
		return BadRequest
	}
	return 0
}

// An answer is one response message, a block of the whole one perhaps.
type answer struct {
	*Response
	block1, block2 block
	size2          uint32
	etag           []byte
}

// understood reports whether a response asks for nothing that we do not know.
func understood(list codec.Options) bool {
	for i, o := range list {
		_, known := codec.CoapOptionDefs[o.ID]
		if critical(o.ID) && (!known || !proper(list, i)) {
			return false
		}
		if (o.ID == codec.Block1 || o.ID == codec.Block2) && !decodeBlock(o.Value).valid() {
			return false
		}
	}
	return true
}

// readAnswer turns the parts of a response into an answer with memory of its own.
func readAnswer(code Code, list codec.Options, body []byte) *answer {
	a := &answer{Response: NewResponse(code)}
	a.Body = bytes.Clone(body)
	for i, o := range list {
		switch {
		case !proper(list, i):
		case o.ID == codec.ContentFormat:
			a.Format = Format(decodeUint(o.Value))
		case o.ID == codec.Observe:
			a.Observe = int(decodeUint(o.Value))
		case o.ID == codec.Block1:
			a.block1 = decodeBlock(o.Value)
		case o.ID == codec.Block2:
			a.block2 = decodeBlock(o.Value)
		case o.ID == codec.Size2:
			a.size2 = decodeUint(o.Value)
		case !managed(o.ID):
			a.Options = append(a.Options, exported(o))
		}
	}
	a.etag, _ = a.Option(ETag)
	return a
}
