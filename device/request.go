package device

import (
	"context"
	"io"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// A Handler answers CoAP requests that the door let through. It may run on many
// goroutines at once.
type Handler interface {
	ServeCoAP(ResponseWriter, *Request)
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ResponseWriter, *Request)

// ServeCoAP implements Handler.
func (f HandlerFunc) ServeCoAP(w ResponseWriter, r *Request) { f(w, r) }

// A Catalogue is a Handler that knows its resources; Mux is one. What it lists
// appears in /.well-known/core, filtered to what the caller may read.
type Catalogue interface {
	Handler
	Resources() []string         // paths, sorted
	Observable(path string) bool // whether GET on path can be observed
}

// A Request is one CoAP request, whole: blocks have been put together.
type Request struct {
	Method Method
	Path   string   // cleaned, and just what the door judged
	Query  []string // Uri-Query options as they came
	Format Format   // of Body; coap's NoFormat is -1
	Accept Format   // wanted in the answer
	Body   []byte   // at most Limits.Body

	Peer latchkey.Fingerprint // proven
	User string               // who owns Peer; "" if unpaired
	Role string

	ctx    context.Context
	values map[string]string
}

// Context ends with the session.
func (r *Request) Context() context.Context { return r.ctx }

// PathValue returns what a wildcard of the pattern matched.
func (r *Request) PathValue(name string) string { return r.values[name] }

// A ResponseWriter takes the answer to a request. What is written is the body;
// transfer in blocks is not the handler's business.
type ResponseWriter interface {
	io.Writer
	SetCode(Code)     // 2.05 Content for GET and FETCH, 2.04 Changed otherwise, if never called
	SetFormat(Format) // none if never called
}

// Error answers with the CoAP code that stands for err in the registry of
// codes, and no text. It replaces what was written.
func Error(w ResponseWriter, err error) {
	code := latchkey.CodeOf(err)
	w.SetCode(Code(code.CoAP()))
	if rw, ok := w.(*response); ok {
		rw.body, rw.reason, rw.format = nil, code, NoFormat
	}
}

// response collects what a handler writes.
type response struct {
	code   Code
	format Format
	reason latchkey.Code // rides on errors, 0 for none
	body   []byte
	limit  int
}

func newResponse(method Method, limit int) *response {
	code := coap.Changed
	if method == GET || method == FETCH {
		code = coap.Content
	}
	return &response{code: code, format: NoFormat, limit: limit}
}

func (w *response) SetCode(c Code)     { w.code = c }
func (w *response) SetFormat(f Format) { w.format = f }

// Write collects up to the limit of a body; past it the answer becomes 5.00.
func (w *response) Write(p []byte) (int, error) {
	if len(w.body)+len(p) > w.limit {
		Error(w, latchkey.ErrInternal)
		w.limit = 0 // nothing more gets in
		return 0, latchkey.ErrTooLarge
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *response) message() *coap.Response {
	m := &coap.Response{Code: w.code, Format: w.format, Observe: -1, Body: w.body}
	if w.reason != 0 {
		coap.SetCode(m, w.reason)
	}
	return m
}

// refuse is the answer that carries err's code and nothing else.
func refuse(err error) *coap.Response {
	w := &response{format: NoFormat}
	Error(w, err)
	return w.message()
}
