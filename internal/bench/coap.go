package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/client"
)

// resource is what is asked for: an answer of about 200 bytes, which passes the
// door and the device's own handler.
const resource = "/device/info"

// A caller sends requests in one session and keeps account of them.
type caller struct {
	conn *client.Conn
	want []byte // is in each answer

	mu     sync.Mutex
	sent   int
	failed int64
	first  error // failure
}

// get sends one request and returns how long the answer took.
func (c *caller) get(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	r, err := c.conn.Get(ctx, resource)
	took := time.Since(start)
	if err == nil && !bytes.Contains(r.Body, c.want) {
		err = fmt.Errorf("answer %q: %w", r.Body, errWrongBytes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	if err != nil && ctx.Err() == nil {
		c.failed++
		if c.first == nil {
			c.first = err
		}
	}
	return took, err
}

// run keeps inFlight requests under way until enough says so, and returns how
// long each took and how long all took.
func (c *caller) run(ctx context.Context, inFlight int, enough func() bool) (each []time.Duration, all time.Duration) {
	times := make([][]time.Duration, inFlight)
	start := time.Now()
	var work sync.WaitGroup
	for i := range inFlight {
		work.Go(func() { // ends when it is enough
			for ctx.Err() == nil && !enough() {
				if took, err := c.get(ctx); err == nil {
					times[i] = append(times[i], took)
				}
			}
		})
	}
	work.Wait()
	all = time.Since(start)
	for _, t := range times {
		each = append(each, t...)
	}
	return each, all
}

// until says when a time is over.
func until(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// measureCoAP asks a daemon, all in one session.
func measureCoAP(ctx context.Context, b *bed) (figures []figure, err error) {
	total := b.amount(200_000, 5000)
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := &caller{conn: conn, want: []byte(conn.Device().String())}
	if _, err := c.get(ctx); err != nil {
		return nil, err
	}
	for _, load := range []struct {
		inFlight int
		goal     float64
		name     string
	}{{1, 6000, "GET one at a time"}, {32, 8000, "GET with 32 in flight"}} {
		var rates, worst []float64
		for run := range b.runs {
			each, all := c.run(ctx, load.inFlight, until(b.length))
			rates = append(rates, float64(len(each))/all.Seconds())
			worst = append(worst, milliseconds(percentile(each, 95)))
			b.say("run %d of %d, %d in flight: %s/s", run+1, b.runs, load.inFlight, number(rates[run]))
		}
		note := notes("p95 "+number(median(worst))+" ms", spread(rates))
		figures = append(figures, figure{Name: load.name, Value: median(rates), Unit: "/s", Goal: atLeast(load.goal), Note: note})
	}
	c.run(ctx, 32, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sent >= total
	})
	if err := ctx.Err(); err != nil {
		return figures, err
	}
	return append(figures, countErrors(fmt.Sprintf("%d requests in one session, errors", c.sent), c.failed, c.first)), nil
}
