package forward

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// defaultPort is that of coap:// (RFC 7252 section 6.1).
const defaultPort = "5683"

// A target is what a judged URL says, and all that a request is sent by.
type target struct {
	route  *Route
	judged string
	url    *url.URL
	path   []string
	query  []string
}

// parse takes a judged URL apart. A URL that does not belong to the route is
// refused: the caller mixed up two requests, or somebody got past Resolve.
func (r *Route) parse(judged string) (*target, error) {
	u, err := url.Parse(judged)
	if err != nil || u.Scheme != r.scheme || u.Host != r.host || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%w: the judged URL is not on route %s", latchkey.ErrForbidden, r.pattern)
	}
	t := &target{route: r, judged: judged, url: u, path: splitPath(u.EscapedPath()), query: splitQuery(u)}
	rest, ok := t.below(t.path)
	if !ok || r.url(rest, t.query) != judged || slices.ContainsFunc(rest, func(s string) bool { return checkSegment(s) != nil }) {
		return nil, fmt.Errorf("%w: the judged URL is not on route %s", latchkey.ErrForbidden, r.pattern)
	}
	return t, nil
}

// below returns what follows the route's base in an upstream path.
func (t *target) below(path []string) ([]string, bool) {
	r, n := t.route, len(t.route.base)
	if len(path) < n || !slices.Equal(path[:n], r.base) || !r.tree && len(path) > n {
		return nil, false
	}
	return path[n:], true
}

// address is the host:port to send CoAP to.
func (t *target) address() string {
	if t.url.Port() == "" {
		return net.JoinHostPort(t.url.Hostname(), defaultPort)
	}
	return t.url.Host
}

// hostOption returns the server's name for Uri-Host, which is left out when the
// URL names an address (RFC 7252 section 6.4).
func (t *target) hostOption() []coap.Option {
	name := t.url.Hostname()
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	return []coap.Option{{Number: coap.URIHost, Value: []byte(name)}}
}

// location translates an upstream location into Location-Path and
// Location-Query of the device (RFC 7252 section 5.10.7). A location that the
// route does not lead to is not the client's business and yields none.
func (t *target) location(path, query []string) []coap.Option {
	rest, ok := t.below(path)
	if !ok {
		return nil
	}
	var options []coap.Option
	for _, s := range slices.Concat(t.route.prefix, rest) {
		options = append(options, coap.Option{Number: coap.LocationPath, Value: []byte(s)})
	}
	for _, q := range query {
		options = append(options, coap.Option{Number: coap.LocationQuery, Value: []byte(q)})
	}
	if slices.ContainsFunc(options, func(o coap.Option) bool { return len(o.Value) > 255 || strings.ContainsRune(string(o.Value), 0) }) {
		return nil
	}
	return options
}
