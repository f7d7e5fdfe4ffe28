package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// defaultMaxAge is how long a state is fresh whose server does not say (RFC
// 7252 section 5.10.5).
const defaultMaxAge = time.Minute

// errSilent ends a registration whose server was not heard of in time.
var errSilent = errors.New("no notification in time")

// feeds joins observers of the same resource, because one endpoint must not
// register twice for it (RFC 7641 section 3.1) and small servers know few
// observers.
type feeds struct {
	pool *pool
	cfg  Config
	wg   sync.WaitGroup // a goroutine for each feed

	mu     sync.Mutex // guards what follows, and the fields of each feed
	closed bool
	all    map[string]*feed
}

// A feed is one registration at a server, and who listens to it. Its goroutine
// ends with its last subscriber, or when the server ends the observation.
type feed struct {
	cancel      context.CancelFunc
	last        *coap.Response // nil before the first answer
	subscribers map[*subscriber]struct{}
}

// A subscriber sees the latest answer of a feed.
type subscriber struct {
	next *coap.Response // guarded by feeds.mu; nil: nothing new
	wake chan struct{}  // holds a token when next was set
}

func newFeeds(p *pool, cfg Config) *feeds {
	return &feeds{pool: p, cfg: cfg, all: map[string]*feed{}}
}

func (f *feeds) subscribe(ctx context.Context, t *target, r *coap.Request, notify func(*coap.Response)) error {
	out, err := toCoAP(t, r)
	if err != nil {
		notify(failure(err))
		return nil
	}
	key := feedKey(t, out)
	s := f.join(key, t, out)
	if s == nil {
		notify(failure(errClosed()))
		return nil
	}
	defer f.leave(key, s)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		}
		answer := f.take(s)
		notify(answer)
		if answer.Observe < 0 {
			return nil
		}
	}
}

// feedKey names what is observed: the URL, the method and every option that
// the server receives (RFC 7252 section 5.6), and a FETCH request's body.
func feedKey(t *target, r *coap.Request) string {
	key := binary.AppendVarint([]byte{byte(r.Code)}, int64(r.Format))
	key = binary.AppendVarint(key, int64(r.Accept))
	for _, part := range [][]byte{[]byte(t.judged), r.Body} {
		key = append(binary.AppendUvarint(key, uint64(len(part))), part...)
	}
	for _, o := range r.Options {
		key = binary.BigEndian.AppendUint16(key, o.Number)
		key = append(binary.AppendUvarint(key, uint64(len(o.Value))), o.Value...)
	}
	return string(key)
}

// join adds a subscriber to the feed of that name, which it starts if need be.
// It returns nil after close.
func (f *feeds) join(key string, t *target, r *coap.Request) *subscriber {
	s := &subscriber{wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	fd := f.all[key]
	if fd == nil {
		ctx, cancel := context.WithCancel(context.Background())
		fd = &feed{cancel: cancel, subscribers: map[*subscriber]struct{}{}}
		f.all[key] = fd
		f.wg.Go(func() { f.run(ctx, key, fd, t, r) }) // ends as the feed's comment says
	}
	fd.subscribers[s] = struct{}{}
	if fd.last != nil {
		s.setLocked(fd.last)
	}
	return s
}

// leave removes a subscriber. The last one ends the feed.
func (f *feeds) leave(key string, s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := f.all[key]
	if fd == nil {
		return
	}
	if _, mine := fd.subscribers[s]; !mine {
		return // a newer feed of the same name
	}
	delete(fd.subscribers, s)
	if len(fd.subscribers) == 0 {
		delete(f.all, key)
		fd.cancel()
	}
}

func (f *feeds) take(s *subscriber) *coap.Response {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := *s.next // never nil: a token in wake says that it was set
	return &answer
}

func (s *subscriber) setLocked(r *coap.Response) {
	s.next = r
	select {
	case s.wake <- struct{}{}:
	default: // the last token was not taken yet; it will find r
	}
}

// publish hands r to every subscriber. A last answer ends the feed for those
// who come later.
func (f *feeds) publish(key string, fd *feed, r *coap.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd.last = r
	for s := range fd.subscribers {
		s.setLocked(r)
	}
	if r.Observe < 0 && f.all[key] == fd {
		delete(f.all, key)
	}
}

// run observes for a feed until its context ends or the server ends it.
func (f *feeds) run(ctx context.Context, key string, fd *feed, t *target, r *coap.Request) {
	defer fd.cancel()
	last, err := f.observe(ctx, key, fd, t, r)
	switch {
	case ctx.Err() != nil: // close, or nobody is left to tell
		last = failure(errClosed())
	case err != nil:
		f.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "forwarding failed",
			slog.String("op", "observe"), slog.String("url", t.judged), slog.Any("err", err))
		last = failure(err)
	}
	last.Observe = coap.NoObserve
	f.publish(key, fd, last)
}

// observe registers and publishes what comes, and registers again when a
// server was silent for longer than its last state is fresh (RFC 7641 section
// 3.3.1). It returns the last answer, which it has not published, or an error.
func (f *feeds) observe(ctx context.Context, key string, fd *feed, t *target, r *coap.Request) (*coap.Response, error) {
	for {
		last, err := f.register(ctx, key, fd, t, r)
		if !errors.Is(err, errSilent) {
			return last, err
		}
	}
}

func (f *feeds) register(ctx context.Context, key string, fd *feed, t *target, r *coap.Request) (last *coap.Response, bad error) {
	up, err := f.pool.acquire(ctx, t.address(), false)
	if err != nil {
		return nil, err
	}
	watch, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	silence := time.AfterFunc(f.cfg.Timeout, func() { stop(errSilent) })
	defer silence.Stop()
	heard := false
	err = up.conn.Observe(watch, r, func(answer *coap.Response) {
		heard = true
		silence.Reset(freshFor(answer) + f.cfg.Grace)
		out, err := fromCoAP(t, answer)
		switch {
		case err != nil:
			bad = err
			stop(err)
		case out.Observe < 0:
			last = out
		case bad == nil:
			f.publish(key, fd, out)
		}
	})
	f.pool.release(up, err)
	switch {
	case bad != nil:
		return nil, bad
	case last != nil:
		return last, nil
	case errors.Is(err, errSilent) && heard:
		return nil, errSilent
	case errors.Is(err, errSilent):
		return nil, latchkey.ErrTargetTimeout
	case err == nil:
		return nil, errAnswer
	}
	return nil, classify(err)
}

// freshFor returns the Max-Age of a state.
func freshFor(r *coap.Response) time.Duration {
	age := defaultMaxAge
	if v, ok := r.Option(coap.MaxAge); ok && len(v) <= 4 {
		age = 0
		for _, b := range v {
			age = age<<8 | time.Duration(b)
		}
		age *= time.Second
	}
	return age
}

// close ends every feed and waits for its goroutine. Subscribers are told.
func (f *feeds) close() {
	f.mu.Lock()
	f.closed = true
	for _, fd := range f.all {
		fd.cancel()
	}
	f.mu.Unlock()
	f.wg.Wait()
}
