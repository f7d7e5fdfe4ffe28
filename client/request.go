package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// A Method is a CoAP request code (RFC 7252 section 12.1.1, RFC 8132).
type Method = coap.Code

// The methods.
const (
	GET    = coap.GET
	POST   = coap.POST
	PUT    = coap.PUT
	DELETE = coap.DELETE
	FETCH  = coap.FETCH
	PATCH  = coap.PATCH
	IPATCH = coap.IPATCH
)

// A Format is a CoAP content format (RFC 7252 section 12.3).
type Format = coap.Format

// NoFormat says that a body has no format, or that any is wanted.
const NoFormat Format = coap.NoFormat

// FormatJSON is application/json.
const FormatJSON Format = coap.JSON

// requestTimeout bounds an exchange whose context has no deadline.
const requestTimeout = 30 * time.Second

// A Request is one CoAP request.
type Request struct {
	Method Method
	Path   string // "/light/1?unit=c"; percent-encoding as in a URL
	Format Format // of Body; used only with a Body
	Accept Format // wanted in the answer; the zero value is text/plain, so NewRequest says NoFormat
	Body   []byte // at most 1 MiB

	// IfMatch asks for the request to be carried out only if the resource still
	// has this ETag (RFC 7252 section 5.10.8.1); nil for any.
	IfMatch []byte
	// IfNoneMatch asks for it only if there is no such resource (section
	// 5.10.8.2).
	IfNoneMatch bool
}

// NewRequest returns a Request without body that accepts any format.
func NewRequest(method Method, path string) *Request {
	return &Request{Method: method, Path: path, Format: NoFormat, Accept: NoFormat}
}

// A Response is a successful answer.
type Response struct {
	Code   coap.Code // "2.05" in its String
	Format Format
	ETag   []byte // of the state that Body shows; nil if the device gives none
	Body   []byte
}

// Get requests a resource.
func (c *Conn) Get(ctx context.Context, path string) (*Response, error) {
	return c.Do(ctx, NewRequest(GET, path))
}

// Do sends a request and waits for the answer; bodies travel in blocks when
// they must. A refusal is a *latchkey.RemoteError, which matches the sentinel
// of its code. Without a deadline in ctx it waits at most 30 s.
func (c *Conn) Do(ctx context.Context, r *Request) (*Response, error) {
	l, err := c.link()
	if err != nil {
		return nil, err
	}
	m, err := r.message()
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
		defer cancel()
	}
	answer, err := l.session.CoAP().Do(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op(), l.explain(err))
	}
	return c.response(r, answer)
}

// Observe requests a resource and then yields each new state (RFC 7641) until
// ctx ends, the device ends the observation, or the loop does.
func (c *Conn) Observe(ctx context.Context, path string) iter.Seq2[*Response, error] {
	return func(yield func(*Response, error) bool) {
		r := NewRequest(GET, path)
		l, err := c.link()
		if err != nil {
			yield(nil, err)
			return
		}
		m, err := r.message()
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		states := make(chan *coap.Response)
		ended := make(chan error, 1)
		go func() { // ends with ctx or the observation
			ended <- l.session.CoAP().Observe(ctx, m, func(answer *coap.Response) {
				select {
				case states <- answer:
				case <-ctx.Done():
				}
			})
		}()
		for {
			select {
			case answer := <-states:
				response, err := c.response(r, answer)
				if !yield(response, err) {
					cancel()
					<-ended
					return
				}
			case err := <-ended:
				if err != nil && !errors.Is(err, context.Canceled) {
					yield(nil, fmt.Errorf("observe %s: %w", path, l.explain(err)))
				}
				return
			}
		}
	}
}

// A Service is a tunnel target that the device offers to us.
type Service struct {
	ID   string `json:"id"`
	Type string `json:"type"` // tcp, udp or unix
	Open bool   `json:"open"` // we may open it now
}

// Services lists the services that we may know of.
func (c *Conn) Services(ctx context.Context) ([]Service, error) {
	r, err := c.Get(ctx, "/services")
	if err != nil {
		return nil, err
	}
	var list []Service
	if err := json.Unmarshal(r.Body, &list); err != nil {
		return nil, fmt.Errorf("%w: list of services: %w", latchkey.ErrProtocol, err)
	}
	return list, nil
}

func (r *Request) op() string { return methodNames[r.Method] + " " + r.Path }

var methodNames = map[Method]string{
	GET: "GET", POST: "POST", PUT: "PUT", DELETE: "DELETE", FETCH: "FETCH", PATCH: "PATCH", IPATCH: "iPATCH",
}

// message parses the path as the reference that it is.
func (r *Request) message() (*coap.Request, error) {
	if _, ok := methodNames[r.Method]; !ok {
		return nil, fmt.Errorf("client: %d is no request method", r.Method)
	}
	path, query, hasQuery := strings.Cut(r.Path, "?")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("client: path %q does not begin with /", r.Path)
	}
	m := coap.NewRequest(r.Method)
	m.Accept, m.Body = r.Accept, r.Body
	if r.Body != nil {
		m.Format = r.Format
	}
	if r.IfMatch != nil {
		m.Options = append(m.Options, coap.Option{Number: coap.IfMatch, Value: r.IfMatch})
	}
	if r.IfNoneMatch {
		m.Options = append(m.Options, coap.Option{Number: coap.IfNoneMatch})
	}
	for s := range strings.SplitSeq(path[1:], "/") {
		segment, err := url.PathUnescape(s)
		if err != nil {
			return nil, fmt.Errorf("client: path %q: %w", r.Path, err)
		}
		m.Path = append(m.Path, segment)
	}
	if path == "/" {
		m.Path = nil
	}
	if hasQuery {
		for s := range strings.SplitSeq(query, "&") {
			q, err := url.PathUnescape(s)
			if err != nil {
				return nil, fmt.Errorf("client: query of %q: %w", r.Path, err)
			}
			m.Query = append(m.Query, q)
		}
	}
	return m, nil
}

// response turns an answer into a Response, or into the error it stands for.
func (c *Conn) response(r *Request, m *coap.Response) (*Response, error) {
	if m.Code.Class() != 2 {
		return nil, refusal(r.op(), c.device.Key, m)
	}
	tag, _ := m.Option(coap.ETag)
	return &Response{Code: m.Code, Format: m.Format, ETag: tag, Body: m.Body}, nil
}

// refusal is the error that an answer stands for: the device's own word, or an
// application's.
func refusal(op string, device latchkey.Fingerprint, m *coap.Response) error {
	if code, ok := coap.CodeOf(m); ok {
		return &latchkey.RemoteError{Op: op, Peer: device, Code: code}
	}
	return &StatusError{Op: op, Code: m.Code, Body: m.Body}
}

// A StatusError is an error answer of the application behind the device. It
// matches the sentinel of its CoAP code where there is one.
type StatusError struct {
	Op   string
	Code coap.Code
	Body []byte // diagnostic payload (RFC 7252 section 5.5.2), the application's words
}

// Error gives code and diagnostic payload.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: answered %s", e.Op, e.Code)
	if len(e.Body) > 0 {
		s += fmt.Sprintf(" (%.200q)", e.Body)
	}
	return s
}

// Unwrap makes errors.Is find the sentinel.
func (e *StatusError) Unwrap() error { return latchkey.ErrorOfCoAP(uint8(e.Code)) }
