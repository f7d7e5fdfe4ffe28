package forward

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey/internal/coap"
)

// response translates an answer (RFC 7252 section 10.1).
func (h *httpSide) response(t *target, r *coap.Request, answer *http.Response, body []byte) (*coap.Response, error) {
	if e := answer.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, fmt.Errorf("%w: content coding %q", errAnswer, e)
	}
	code := codeOf(r.Code, answer.StatusCode)
	if code == 0 || code == coap.Valid && (r.Code != coap.GET || answer.Request.Header.Get("If-None-Match") == "") {
		return nil, fmt.Errorf("%w: status %d", errAnswer, answer.StatusCode)
	}
	out := coap.NewResponse(code)
	format := formatOf(answer.Header.Get("Content-Type"), body)
	if code.Class() == 2 {
		if len(body) > 0 && r.Accept != coap.NoFormat && format != r.Accept {
			return nil, &errOption{accept, coap.NotAcceptable}
		}
		out.Body = body
		h.describe(out, t, r, answer)
	} else if format != coap.NoFormat {
		out.Body = body // an error page without a type would be taken for a diagnostic message
	}
	if len(out.Body) > 0 {
		out.Format = format
	}
	if age, ok := maxAge(code, answer.Header, time.Now()); ok {
		out.Options = append(out.Options, coap.Option{Number: coap.MaxAge, Value: uintOption(age)})
	}
	sortOptions(out.Options)
	return out, nil
}

// describe adds entity-tag and location to a success.
func (h *httpSide) describe(out *coap.Response, t *target, r *coap.Request, answer *http.Response) {
	if tag, ok := h.tags.toCoAP(answer.Header.Get("ETag")); ok {
		out.Options = append(out.Options, coap.Option{Number: coap.ETag, Value: tag})
	} else if tag, ok := r.Option(coap.ETag); ok && out.Code == coap.Valid {
		out.Options = append(out.Options, coap.Option{Number: coap.ETag, Value: tag})
	}
	if out.Code != coap.Created {
		return
	}
	where, err := t.url.Parse(answer.Header.Get("Location"))
	if err == nil && answer.Header.Get("Location") != "" && where.Scheme == t.url.Scheme && where.Host == t.url.Host {
		out.Options = append(out.Options, t.location(splitPath(where.EscapedPath()), splitQuery(where))...)
	}
}

// statuses maps errors, whatever the method. A status that is not here is 4.00
// or 5.00 by its class.
var statuses = map[int]coap.Code{
	http.StatusUnauthorized:               coap.Unauthorized,
	http.StatusForbidden:                  coap.Forbidden,
	http.StatusNotFound:                   coap.NotFound,
	http.StatusMethodNotAllowed:           coap.MethodNotAllowed,
	http.StatusNotAcceptable:              coap.NotAcceptable,
	http.StatusProxyAuthRequired:          coap.BadGateway,
	http.StatusRequestTimeout:             coap.GatewayTimeout,
	http.StatusConflict:                   coap.Conflict,
	http.StatusGone:                       coap.NotFound,
	http.StatusPreconditionFailed:         coap.PreconditionFailed,
	http.StatusRequestEntityTooLarge:      coap.EntityTooLarge,
	http.StatusUnsupportedMediaType:       coap.UnsupportedFormat,
	http.StatusUnprocessableEntity:        coap.Unprocessable,
	http.StatusTooManyRequests:            coap.TooManyRequests,
	http.StatusUnavailableForLegalReasons: coap.Forbidden,
	http.StatusNotImplemented:             coap.NotImplemented,
	http.StatusBadGateway:                 coap.BadGateway,
	http.StatusServiceUnavailable:         coap.ServiceUnavailable,
	http.StatusGatewayTimeout:             coap.GatewayTimeout,
}

// codeOf maps a status for a method, 0 when it cannot be told in CoAP:
// redirects, partial content and what nobody knows.
func codeOf(method coap.Code, status int) coap.Code {
	if method == coap.DELETE && (status == http.StatusNotFound || status == http.StatusGone) {
		return coap.Deleted // RFC 7252 section 10.1.3
	}
	if status == http.StatusNotModified {
		return coap.Valid
	}
	if status/100 == 2 {
		return success(method, status)
	}
	if code, ok := statuses[status]; ok {
		return code
	}
	switch status / 100 {
	case 4:
		return coap.BadRequest
	case 5:
		return coap.InternalServerError
	}
	return 0
}

func success(method coap.Code, status int) coap.Code {
	switch {
	case status >= http.StatusPartialContent:
		return 0
	case method == coap.DELETE:
		return coap.Deleted
	case method == coap.GET || method == coap.FETCH:
		if status == http.StatusCreated || status == http.StatusAccepted {
			return 0
		}
		return coap.Content
	case status == http.StatusCreated:
		return coap.Created
	}
	return coap.Changed
}

// maxAge returns the Max-Age of an answer: how long a representation stays
// fresh, or after how long to come back. A representation whose server says
// nothing of freshness is not fresh (RFC 7252 section 10.1.1).
func maxAge(code coap.Code, header http.Header, now time.Time) (seconds uint32, ok bool) {
	switch code {
	case coap.Content, coap.Valid:
		return clampAge(freshness(header, now)), true
	case coap.ServiceUnavailable, coap.TooManyRequests:
		after := header.Get("Retry-After")
		if n, err := strconv.Atoi(after); err == nil && n >= 0 {
			return clampAge(n), true
		}
		if at, err := http.ParseTime(after); err == nil {
			return clampAge(int(at.Sub(now) / time.Second)), true
		}
	}
	return 0, false
}

// clampAge keeps Max-Age within four bytes and a year.
func clampAge(n int) uint32 { return uint32(min(max(n, 0), 365*24*3600)) }

// freshness returns the remaining seconds of RFC 9111 section 4.2.
func freshness(header http.Header, now time.Time) int {
	lifetime, explicit := 0, false
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			n, err := strconv.Atoi(strings.Trim(value, `"`))
			if err != nil {
				return 0
			}
			lifetime, explicit = n, true
		}
	}
	if expires := header.Get("Expires"); !explicit && expires != "" {
		at, err := http.ParseTime(expires)
		if err != nil {
			return 0
		}
		return int(at.Sub(now) / time.Second)
	}
	age, _ := strconv.Atoi(header.Get("Age"))
	return lifetime - max(age, 0)
}

// uintOption is the shortest form of an unsigned integer (RFC 7252 section 3.2).
func uintOption(n uint32) []byte {
	var b []byte
	for ; n > 0; n >>= 8 {
		b = append([]byte{byte(n)}, b...)
	}
	return b
}
