package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// Limits of a question.
const (
	DefaultTimeout = 2 * time.Second
	MaxTimeout     = 10 * time.Second // a door waits no longer
	maxAnswer      = 64 << 10         // bytes
	maxHeader      = 16 << 10
	maxConns       = 16 // at once; further questions wait, and their time runs
	idle           = 90 * time.Second
)

// A Config says whom to ask. URL is required, of the rest the zero values are
// defaults.
type Config struct {
	// URL is unix:/SOCKET, unix:/SOCKET:/PATH or https://HOST[:PORT][/PATH]. Without
	// a PATH it is /v1/data/latchkey/allow.
	URL     string
	Timeout time.Duration  // for one answer, up to MaxTimeout; 0: DefaultTimeout
	Roots   *x509.CertPool // who may vouch for an https server; nil: the system's
	Log     *slog.Logger   // nil: slog.Default
}

// A Client asks one program. It may be used by many goroutines at once.
type Client struct {
	url     string // as net/http wants it
	timeout time.Duration
	http    *http.Client
	log     *slog.Logger
	failing atomic.Bool // so that an outage is two lines in the log, not thousands
}

// New checks the configuration. It connects to nothing.
func New(c Config) (*Client, error) {
	to, err := parseURL(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("webhook: %w", err)
	case c.Timeout < 0 || c.Timeout > MaxTimeout:
		return nil, fmt.Errorf("webhook: a timeout is at most %v", MaxTimeout)
	case c.Roots != nil && to.socket != "":
		return nil, errors.New("webhook: nobody vouches for a Unix socket; a CA is for https")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	h1 := new(http.Protocols)
	h1.SetHTTP1(true)
	transport := &http.Transport{ // no Proxy: the environment does not choose who decides
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		Protocols:              h1,
		DisableCompression:     true,
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: maxHeader,
	}
	if to.socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", to.socket)
		}
	}
	return &Client{
		url: to.url, timeout: c.Timeout, log: c.Log,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close closes the connections that are kept. Questions under way go on, and
// further ones connect anew.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Ask asks about r; nil means yes. It is a device.AuthorizeFunc. Every
// error matches latchkey.ErrForbidden, but that for a token whose time is over,
// which nobody is asked about: it matches latchkey.ErrTokenExpired.
func (c *Client) Ask(ctx context.Context, r *acl.Request) error {
	if err := checkToken(r); err != nil {
		return err
	}
	question, err := encode(r)
	if err != nil {
		return refusal(err)
	}
	allowed, err := c.post(ctx, question)
	switch {
	case err != nil:
		if ctx.Err() == nil && !c.failing.Swap(true) {
			c.log.Warn("webhook does not answer, so everything is refused", "op", "authorize", "err", err)
		}
		return refusal(err)
	case c.failing.Swap(false):
		c.log.Info("webhook answers again", "op", "authorize")
	}
	if !allowed {
		return fmt.Errorf("webhook: it said no: %w", latchkey.ErrForbidden)
	}
	return nil
}

// checkToken refuses strangers whose token is over, but to log in with another.
// The program is not relied on for that.
func checkToken(r *acl.Request) error {
	switch {
	case r.Token == nil || r.User != "" || r.Action == acl.TokenLogin:
		return nil
	case r.Time.IsZero():
		return fmt.Errorf("%w: nobody knows whether the token is still valid", latchkey.ErrForbidden)
	case !r.Time.Before(r.Token.Expires):
		return latchkey.ErrTokenExpired
	}
	return nil
}

func refusal(err error) error { return fmt.Errorf("%w: webhook: %w", latchkey.ErrForbidden, err) }

// post sends the question and reads the answer. Its errors hold nothing of either.
func (c *Client) post(ctx context.Context, question []byte) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(question))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "latchkey")
	request.Header["Idempotency-Key"] = []string{} // not sent; net/http then asks again on a new connection
	response, err := c.http.Do(request)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may have a query
		}
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the status is %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return false, err
	}
	if len(body) > maxAnswer {
		return false, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return parseAnswer(body)
}
