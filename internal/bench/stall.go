package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey/client"
)

const (
	// stalledBytes is what the tunnel with the stopped reader carries: more
	// than any credit, so that its sender has to stop as well.
	stalledBytes = 64 << 20
	stalledSeed  = 2
	// askEvery is how often latency is sampled.
	askEvery = 5 * time.Millisecond
)

// A stall is one session of this process with a daemon, with a tunnel whose
// reader stops, and another that should not notice.
type stall struct {
	bed      *bed
	conn     *client.Conn
	caller   *caller
	received atomic.Int64    // payload of the other tunnel
	stopped  chan struct{}   // closed when the reader has stopped
	release  context.Context // ends when it may go on
	goOn     context.CancelFunc
}

// measureStall does it in both directions: with a reader that stops behind the
// device, and with one that stops at the client.
func measureStall(ctx context.Context, b *bed) ([]figure, error) {
	var figures []figure
	for _, toDevice := range []bool{false, true} {
		more, err := b.stallOnce(ctx, toDevice)
		if figures = append(figures, more...); err != nil {
			return figures, err
		}
	}
	return figures, nil
}

func (b *bed) stallOnce(ctx context.Context, toDevice bool) (figures []figure, err error) {
	st := &stall{bed: b, stopped: make(chan struct{})}
	st.release, st.goOn = context.WithCancel(ctx)
	handlers := map[string]func(net.Conn) error{"source": source, "sink": st.sink, "lazy": st.lazy}
	var services []string
	for name, handle := range handlers {
		t, err := listenTCP(handle)
		if err != nil {
			return nil, err
		}
		defer t.close()
		services = append(services, t.service(name))
	}
	defer st.goOn() // before the targets are closed: one may be the stopped reader
	s, err := b.newSite(ctx, services...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if st.conn, err = s.dial(ctx); err != nil {
		return nil, err
	}
	defer st.conn.Close()
	st.caller = &caller{conn: st.conn, want: []byte(st.conn.Device().String())}
	return st.run(ctx, toDevice)
}

// run measures idle, alone, and beside the stopped reader.
func (s *stall) run(ctx context.Context, toDevice bool) ([]figure, error) {
	direction := map[bool]string{false: "at the client", true: "behind the device"}[toDevice]
	idle := s.latency(ctx, s.bed.length)
	full, _, err := s.busy(ctx, toDevice, 0, s.bed.length)
	if err != nil {
		return nil, err
	}
	half := full / 2
	alone, beside, err := s.busy(ctx, toDevice, half, s.bed.length)
	if err != nil {
		return nil, err
	}
	s.bed.say("reader %s: at most %s MB/s, half of it alone %s MB/s", direction, number(full/1e6), number(alone/1e6))
	length := time.Duration(s.bed.amount(30, 3)) * time.Second
	move := s.lazyDownload
	if toDevice {
		move = s.lazyUpload
	}
	var moved error
	ended := make(chan struct{})
	go func() { // ends when the bytes are through, or with ctx
		defer close(ended)
		moved = move(ctx)
	}()
	defer func() {
		s.goOn()
		<-ended
	}()
	select {
	case <-s.stopped:
	case <-ended:
		return nil, errors.Join(errors.New("the tunnel did not last until its reader stopped"), moved)
	}
	if err := pause(ctx, time.Second); err != nil { // the sender runs out of credit
		return nil, err
	}
	with, stalled, err := s.busy(ctx, toDevice, half, length)
	if err != nil {
		return nil, err
	}
	s.goOn()
	<-ended
	idle = append(idle, s.latency(ctx, s.bed.length)...) // before and after, so that passing disturbances count less
	p95 := func(d []time.Duration) float64 { return milliseconds(percentile(d, 95)) }
	return []figure{
		{
			Name: "reader stopped " + direction + ", speed of another tunnel", Value: 100 * with / alone, Unit: "%", Goal: atLeast(80),
			Note: fmt.Sprintf("of %s Mbit/s, half its maximum, for %v", number(alone*8/1e6), length),
		},
		{
			Name: "  CoAP p95, times idle", Value: p95(stalled) / p95(idle), Goal: atMost(3),
			Note: fmt.Sprintf("%s ms; idle %s ms; with the other tunnel alone %s ms", number(p95(stalled)), number(p95(idle)), number(p95(beside))),
		},
		countErrors("  bytes of the stopped tunnel differ, once it is read again", btoi(moved != nil), moved),
		countErrors("  requests failed", s.caller.failed, s.caller.first),
	}, ctx.Err()
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// latency asks for a time and returns how long each answer took.
func (s *stall) latency(ctx context.Context, d time.Duration) []time.Duration {
	var each []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		if took, err := s.caller.get(ctx); err == nil {
			each = append(each, took)
		}
		_ = pause(ctx, askEvery)
	}
	return each
}

// busy runs the other tunnel at a rate in bytes per second, 0 for as fast as it
// goes, and returns its speed and the latency beside it.
func (s *stall) busy(ctx context.Context, toDevice bool, rate float64, d time.Duration) (speed float64, each []time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	move := s.download
	if toDevice {
		move = s.upload
	}
	ended := make(chan error, 1)
	go func() { ended <- move(ctx, order{Bytes: math.MaxInt64, Rate: uint64(rate)}) }() // ends with ctx
	if err := pause(ctx, time.Second); err != nil {                                     // it gets up to speed
		return 0, nil, err
	}
	before, start := s.received.Load(), time.Now()
	each = s.latency(ctx, d)
	speed = float64(s.received.Load()-before) / time.Since(start).Seconds()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return 0, nil, fmt.Errorf("the other tunnel ended: %w", err)
	}
	return speed, each, nil
}

// tunnel opens a tunnel and runs use until it returns or ctx ends.
func (s *stall) tunnel(ctx context.Context, service string, use func(net.Conn) error) error {
	conn, err := s.conn.Tunnel(ctx, service)
	if err != nil {
		return err
	}
	defer conn.Close()
	return during(ctx, conn, func() error { return use(conn) })
}

func (s *stall) download(ctx context.Context, o order) error {
	return s.tunnel(ctx, "source", func(conn net.Conn) error {
		if err := o.send(conn); err != nil {
			return err
		}
		return s.count(conn)
	})
}

func (s *stall) upload(ctx context.Context, o order) error {
	return s.tunnel(ctx, "sink", func(conn net.Conn) error { return o.fill(conn) })
}

func (s *stall) sink(conn net.Conn) error { return s.count(conn) }

// count reads to the end and counts.
func (s *stall) count(conn net.Conn) error {
	chunk := make([]byte, chunkSize)
	for {
		n, err := conn.Read(chunk)
		s.received.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A lazyReader reads a little, stops, and goes on when it may.
type lazyReader struct {
	from  io.Reader
	left  int // until it stops
	once  sync.Once
	stall *stall
}

func (l *lazyReader) Read(b []byte) (int, error) {
	if l.left <= 0 {
		l.once.Do(func() { close(l.stall.stopped) })
		<-l.stall.release.Done()
	}
	n, err := l.from.Read(b)
	l.left -= n
	return n, err
}

func (s *stall) lazyReader(from io.Reader) io.Reader {
	return &lazyReader{from: from, left: 1 << 20, stall: s}
}

func (s *stall) lazyDownload(ctx context.Context) error {
	return s.tunnel(ctx, "source", func(conn net.Conn) error {
		if err := (order{Seed: stalledSeed, Bytes: stalledBytes}).send(conn); err != nil {
			return err
		}
		return check(s.lazyReader(conn), stalledSeed, stalledBytes)
	})
}

// lazy is the target that stops reading.
func (s *stall) lazy(conn net.Conn) error {
	if err := check(s.lazyReader(conn), stalledSeed, stalledBytes); err != nil {
		return err
	}
	_, err := conn.Write([]byte{1})
	return err
}

func (s *stall) lazyUpload(ctx context.Context) error {
	return s.tunnel(ctx, "lazy", func(conn net.Conn) error {
		if err := (order{Seed: stalledSeed, Bytes: stalledBytes}).fill(conn); err != nil {
			return err
		}
		if err := closeWrite(conn); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	})
}
