package forward

import (
	"fmt"
	"slices"

	"github.com/latchkey-dev/latchkey/internal/coap"
)

// Proxy-Uri and Proxy-Scheme (RFC 7252 section 5.10.2) ask for a forward proxy,
// which a device is not.
const (
	proxyURI    uint16 = 35
	proxyScheme uint16 = 39
)

// Options that coap.Request has fields for, named in errors.
const (
	contentFormat uint16 = 12
	accept        uint16 = 17
)

// isCritical and isUnsafe read an option's number (RFC 7252 section 5.4.6).
func isCritical(number uint16) bool { return number&1 != 0 }
func isUnsafe(number uint16) bool   { return number&2 != 0 }

// errOption is an option that cannot be forwarded; answers carry code.
type errOption struct {
	number uint16
	code   coap.Code
}

func (e *errOption) Error() string {
	return fmt.Sprintf("option %d cannot be forwarded (%s)", e.number, e.code)
}

// checkOptions refuses requests for a forward proxy.
func checkOptions(r *coap.Request) error {
	for _, o := range r.Options {
		if o.Number == proxyURI || o.Number == proxyScheme {
			return &errOption{o.Number, coap.ProxyingNotSupported}
		}
	}
	return nil
}

// toCoAP returns the request that t receives for r.
func toCoAP(t *target, r *coap.Request) (*coap.Request, error) {
	out := &coap.Request{
		Code: r.Code, Path: t.path, Query: t.query, Format: r.Format, Accept: r.Accept,
		Observe: coap.NoObserve, Options: t.hostOption(), Body: r.Body,
	}
	for _, o := range r.Options {
		switch {
		case o.Number == coap.URIHost, o.Number == coap.URIPort, o.Number == coap.MaxAge, o.Number == coap.CodeOption:
			// said to the device, not to what is behind it
		case isUnsafe(o.Number):
			return nil, &errOption{o.Number, coap.BadOption}
		default:
			out.Options = append(out.Options, o)
		}
	}
	sortOptions(out.Options)
	return out, nil
}

// fromCoAP returns what the device answers when t answered r.
func fromCoAP(t *target, r *coap.Response) (*coap.Response, error) {
	if c := r.Code.Class(); c != 2 && c != 4 && c != 5 {
		return nil, fmt.Errorf("%w: response code %s", errAnswer, r.Code)
	}
	out := &coap.Response{Code: r.Code, Format: r.Format, Observe: r.Observe, Body: r.Body}
	var path, query []string
	for _, o := range r.Options {
		switch {
		case o.Number == coap.CodeOption:
			// only the device speaks for the device
		case o.Number == coap.LocationPath:
			path = append(path, string(o.Value))
		case o.Number == coap.LocationQuery:
			query = append(query, string(o.Value))
		case isUnsafe(o.Number) && o.Number != coap.MaxAge:
			return nil, &errOption{o.Number, coap.BadGateway}
		default:
			out.Options = append(out.Options, o)
		}
	}
	if len(path)+len(query) > 0 {
		out.Options = append(out.Options, t.location(path, query)...)
	}
	sortOptions(out.Options)
	return out, nil
}

// sortOptions orders by number and keeps the order of repeated options.
func sortOptions(options []coap.Option) {
	slices.SortStableFunc(options, func(a, b coap.Option) int { return int(a.Number) - int(b.Number) })
}
