package coap

import (
	"context"
	"fmt"
)

// A Code is a method or a response code, class<<5 | detail (RFC 7252 section 3).
type Code uint8

// Methods (RFC 7252 section 12.1.1, RFC 8132 section 6).
const (
	GET    Code = 0<<5 | 1
	POST   Code = 0<<5 | 2
	PUT    Code = 0<<5 | 3
	DELETE Code = 0<<5 | 4
	FETCH  Code = 0<<5 | 5
	PATCH  Code = 0<<5 | 6
	IPATCH Code = 0<<5 | 7
)

// Response codes (RFC 7252 section 12.1.2, RFC 7959, RFC 8132, RFC 8516, RFC 8768).
const (
	Created              Code = 2<<5 | 1
	Deleted              Code = 2<<5 | 2
	Valid                Code = 2<<5 | 3
	Changed              Code = 2<<5 | 4
	Content              Code = 2<<5 | 5
	Continue             Code = 2<<5 | 31
	BadRequest           Code = 4<<5 | 0
	Unauthorized         Code = 4<<5 | 1
	BadOption            Code = 4<<5 | 2
	Forbidden            Code = 4<<5 | 3
	NotFound             Code = 4<<5 | 4
	MethodNotAllowed     Code = 4<<5 | 5
	NotAcceptable        Code = 4<<5 | 6
	EntityIncomplete     Code = 4<<5 | 8
	Conflict             Code = 4<<5 | 9
	PreconditionFailed   Code = 4<<5 | 12
	EntityTooLarge       Code = 4<<5 | 13
	UnsupportedFormat    Code = 4<<5 | 15
	Unprocessable        Code = 4<<5 | 22
	TooManyRequests      Code = 4<<5 | 29
	InternalServerError  Code = 5<<5 | 0
	NotImplemented       Code = 5<<5 | 1
	BadGateway           Code = 5<<5 | 2
	ServiceUnavailable   Code = 5<<5 | 3
	GatewayTimeout       Code = 5<<5 | 4
	ProxyingNotSupported Code = 5<<5 | 5
	HopLimitReached      Code = 5<<5 | 8
)

// Class returns the part before the dot: 0 for a method, 2 for success, 4 and
// 5 for errors.
func (c Code) Class() uint8 { return uint8(c) >> 5 }

// answers reports whether c is a response code.
func (c Code) answers() bool { return c.Class() == 2 || c.Class() == 4 || c.Class() == 5 }

// String returns the form of RFC 7252: "2.05".
func (c Code) String() string { return fmt.Sprintf("%d.%02d", c>>5, c&31) }

// A Format is a content format (RFC 7252 section 12.3), 0 to 65535.
type Format int

// Content formats. NoFormat says that the option is absent.
const (
	NoFormat    Format = -1
	TextPlain   Format = 0
	LinkFormat  Format = 40
	OctetStream Format = 42
	JSON        Format = 50
	CBOR        Format = 60
)

// NoObserve says that a message has no Observe option.
const NoObserve = -1

// An Option is one option that the endpoint does not handle itself.
type Option struct {
	Number uint16
	Value  []byte
}

// Numbers of options that travel in Request.Options and Response.Options
// (RFC 7252 section 12.2, RFC 9175).
const (
	IfMatch       uint16 = 1
	URIHost       uint16 = 3
	ETag          uint16 = 4
	IfNoneMatch   uint16 = 5
	URIPort       uint16 = 7
	LocationPath  uint16 = 8
	MaxAge        uint16 = 14
	LocationQuery uint16 = 20
	Echo          uint16 = 252
)

// A Request is one whole request; blocks are put together before a Handler
// sees it. Make one with NewRequest: in the zero Request, Accept says
// text/plain.
type Request struct {
	Code    Code
	Path    []string // Uri-Path, one element for each segment, as received
	Query   []string // Uri-Query, one element for each option, as received
	Format  Format   // of Body
	Accept  Format
	Observe int      // 0 registers, 1 deregisters, NoObserve; Do and Observe ignore it
	Options []Option // all others in order of their numbers, without those of block transfers and No-Response
	Body    []byte

	// Observation is what a Handler notifies once it accepted a registration.
	// It is non-nil only when the peer asks to observe and may.
	Observation *Observation

	endpoint *Endpoint // that has to answer; nil for requests of ours
	job      *job
}

// NewRequest returns a request without body, formats and observation.
func NewRequest(code Code, path ...string) *Request {
	return &Request{Code: code, Path: path, Format: NoFormat, Accept: NoFormat, Observe: NoObserve}
}

// Option returns the first value of an option in Options.
func (r *Request) Option(number uint16) ([]byte, bool) { return find(r.Options, number) }

// A Response is one whole response. Format is sent when it is above 0 or there
// is a Body.
type Response struct {
	Code    Code
	Format  Format
	Observe int // in answer to a registration, 0 or more accepts it; NoObserve: declined, or none
	Options []Option
	Body    []byte
}

// NewResponse returns a response without body, format and observation.
func NewResponse(code Code) *Response {
	return &Response{Code: code, Format: NoFormat, Observe: NoObserve}
}

// Option returns the first value of an option in Options.
func (r *Response) Option(number uint16) ([]byte, bool) { return find(r.Options, number) }

func find(options []Option, number uint16) ([]byte, bool) {
	for _, o := range options {
		if o.Number == number {
			return o.Value, true
		}
	}
	return nil, false
}

// A Handler answers requests. It runs on one of Config.Workers goroutines and
// may block; ctx ends with the endpoint. It owns the Request, and the endpoint
// owns the Response. A nil Response sends none: a confirmable request is then
// only acknowledged. A panic, and a Response that cannot be sent, become 5.00.
type Handler func(ctx context.Context, r *Request) *Response
