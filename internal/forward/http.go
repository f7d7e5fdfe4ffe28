package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// methods maps CoAP methods to HTTP's (RFC 7252 section 10.1, RFC 8132).
var methods = map[coap.Code]string{
	coap.GET:    http.MethodGet,
	coap.POST:   http.MethodPost,
	coap.PUT:    http.MethodPut,
	coap.DELETE: http.MethodDelete,
	coap.FETCH:  "QUERY", // RFC 10008
	coap.PATCH:  http.MethodPatch,
	coap.IPATCH: http.MethodPatch,
}

// An httpSide talks to HTTP servers.
type httpSide struct {
	cfg    Config
	client *http.Client
	tags   etags
}

func newHTTPSide(cfg Config) *httpSide {
	return &httpSide{cfg: cfg, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // the judged host is the one that is dialled
			DialContext:            (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    8,
			MaxConnsPerHost:        64, // further requests wait their turn
			IdleConnTimeout:        cfg.Idle,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}}
}

func (h *httpSide) close() { h.client.CloseIdleConnections() }

func (h *httpSide) do(ctx context.Context, t *target, r *coap.Request) (*coap.Response, error) {
	request, err := h.request(ctx, t, r)
	if err != nil {
		return nil, err
	}
	answer, err := h.client.Do(request)
	if err != nil {
		return nil, classify(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, int64(h.cfg.MaxBody)+1))
	if err != nil {
		return nil, classify(err)
	}
	if len(body) > h.cfg.MaxBody {
		return nil, fmt.Errorf("%w: %w", errAnswer, latchkey.ErrTooLarge)
	}
	return h.response(t, r, answer, body)
}

// request translates a request.
func (h *httpSide) request(ctx context.Context, t *target, r *coap.Request) (*http.Request, error) {
	method, ok := methods[r.Code]
	if !ok {
		return nil, fmt.Errorf("%w: %s has no HTTP form", latchkey.ErrMethodNotAllowed, r.Code)
	}
	for _, o := range r.Options {
		switch o.Number {
		case coap.URIHost, coap.URIPort, coap.MaxAge, coap.IfMatch, coap.IfNoneMatch:
			continue
		}
		if isCritical(o.Number) || isUnsafe(o.Number) {
			return nil, &errOption{o.Number, coap.BadOption}
		}
	}
	var body io.Reader = bytes.NewReader(r.Body)
	if r.Code == coap.GET || r.Code == coap.DELETE {
		body = nil // it has no meaning there (RFC 7252 sections 5.8.1 and 5.8.4)
	}
	out, err := http.NewRequestWithContext(ctx, method, t.judged, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	out.Header.Set("User-Agent", "latchkey")
	out.Header.Set("Accept-Encoding", "identity") // CoAP has no word for another
	if r.Format != coap.NoFormat && body != nil {
		name, ok := mediaTypes[r.Format]
		if !ok {
			return nil, &errOption{contentFormat, coap.UnsupportedFormat}
		}
		out.Header.Set("Content-Type", name)
	}
	if r.Accept != coap.NoFormat {
		name, ok := mediaTypes[r.Accept]
		if !ok {
			return nil, &errOption{accept, coap.NotAcceptable}
		}
		out.Header.Set("Accept", name)
	}
	return out, h.conditions(out.Header, r)
}

// conditions translates ETag, If-Match and If-None-Match. A precondition that
// cannot be translated has failed; a cached copy that cannot is not mentioned.
func (h *httpSide) conditions(header http.Header, r *coap.Request) error {
	match, known := h.tags.list(r, coap.IfMatch)
	if !known && len(match) == 0 {
		return &errOption{coap.IfMatch, coap.PreconditionFailed}
	}
	if len(match) > 0 {
		header.Set("If-Match", strings.Join(match, ", "))
	}
	if _, ok := r.Option(coap.IfNoneMatch); ok {
		header.Set("If-None-Match", "*")
	} else if cached, _ := h.tags.list(r, coap.ETag); len(cached) > 0 && r.Code == coap.GET {
		header.Set("If-None-Match", strings.Join(cached, ", "))
	}
	return nil
}
