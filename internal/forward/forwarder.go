package forward

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// Config bounds a Forwarder. A zero field is its default.
type Config struct {
	Timeout time.Duration  // of one exchange with a server; 30 s
	Idle    time.Duration  // after which a connection nobody uses is closed; 60 s
	Grace   time.Duration  // that a notification may be late before its server is asked again; 10 s
	MaxBody int            // bytes of one body in either direction; 1 MiB
	RootCAs *x509.CertPool // that https servers are checked against; nil: the system's
	Log     *slog.Logger   // nil: slog.Default()
}

// A Forwarder keeps the connections to upstream servers. It is safe for
// concurrent use.
type Forwarder struct {
	cfg  Config
	coap *pool
	feed *feeds
	http *httpSide
}

// New returns a Forwarder. It starts no goroutine and opens nothing.
func New(cfg Config) *Forwarder {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Idle <= 0 {
		cfg.Idle = time.Minute
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 1 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := newPool(cfg)
	return &Forwarder{cfg: cfg, coap: p, feed: newFeeds(p, cfg), http: newHTTPSide(cfg)}
}

// Do sends r to where judged says, a URL that via.Resolve returned and the
// door allowed, and returns the answer; never nil. Failures are answers too:
// 5.02 and 5.04 with the latchkey.Code of ErrTargetRefused,
// ErrTargetUnreachable or ErrTargetTimeout. An Observe option is ignored.
func (f *Forwarder) Do(ctx context.Context, via *Route, judged string, r *coap.Request) *coap.Response {
	answer, err := f.do(ctx, via, judged, r)
	if err != nil {
		f.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "forwarding failed",
			slog.String("op", r.Code.String()), slog.String("url", judged), slog.Any("err", err))
		return failure(err)
	}
	return answer
}

func (f *Forwarder) do(ctx context.Context, via *Route, judged string, r *coap.Request) (*coap.Response, error) {
	t, err := f.admit(via, judged, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if via.scheme == "coap" {
		return f.coap.do(ctx, t, r)
	}
	return f.http.do(ctx, t, r)
}

// admit takes the judged URL apart and checks what holds for every scheme.
func (f *Forwarder) admit(via *Route, judged string, r *coap.Request) (*target, error) {
	if err := checkOptions(r); err != nil {
		return nil, err
	}
	if len(r.Body) > f.cfg.MaxBody {
		return nil, fmt.Errorf("%w: a body of %d bytes", latchkey.ErrTooLarge, len(r.Body))
	}
	return via.parse(judged)
}

// Subscribe observes what judged names and calls notify with each answer, from
// one goroutine at a time, until ctx ends or the server ends it. The first
// answer is that to the registration. An answer whose Observe is negative is
// the last: Subscribe returns nil after it. That is how servers that cannot be
// observed look, http among them, and how failures are told. When notify is
// slower than the server it sees the latest state and not each one.
// The error is ctx's.
func (f *Forwarder) Subscribe(ctx context.Context, via *Route, judged string, r *coap.Request, notify func(*coap.Response)) error {
	t, err := f.admit(via, judged, r)
	if err == nil && via.scheme == "coap" {
		return f.feed.subscribe(ctx, t, r, notify)
	}
	answer := f.Do(ctx, via, judged, r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	answer.Observe = coap.NoObserve
	notify(answer)
	return nil
}

// Close ends everything under way and waits for every goroutine. Requests
// after Close fail.
func (f *Forwarder) Close() {
	f.feed.close()
	f.coap.close()
	f.http.close()
}
