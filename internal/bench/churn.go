package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// settleTime is how long what an ended tunnel held may take to be gone.
const settleTime = 15 * time.Second

// touch opens a connection, gets eight bytes back, and closes it.
func touch(ctx context.Context, dial func(context.Context) (net.Conn, error), number uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return during(ctx, conn, func() error {
		var back [8]byte
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, number)); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, back[:]); err != nil {
			return err
		}
		if binary.BigEndian.Uint64(back[:]) != number {
			return errWrongBytes
		}
		return nil
	})
}

// touchMany opens count connections, some at a time, and returns how many
// failed and the first failure.
func touchMany(ctx context.Context, dial func(context.Context) (net.Conn, error), count, atOnce int) (failed int64, first error) {
	var next, failures atomic.Int64
	var once sync.Once
	var work sync.WaitGroup
	for range atOnce {
		work.Go(func() { // ends when all are opened
			for n := next.Add(1); n <= int64(count); n = next.Add(1) {
				if err := touch(ctx, dial, uint64(n)); err != nil {
					failures.Add(1)
					once.Do(func() { first = err })
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	work.Wait()
	return failures.Load(), first
}

// measureChurn opens and closes 1,000 tunnels one after the other, first
// through both programs, then with both ends in this process, where goroutines
// and heap can be counted.
func measureChurn(ctx context.Context, b *bed) ([]figure, error) {
	figures, err := b.churnPrograms(ctx)
	if err != nil {
		return figures, err
	}
	more, err := b.churnInside(ctx)
	return append(figures, more...), err
}

func (b *bed) churnPrograms(ctx context.Context) (figures []figure, err error) {
	count := b.amount(1000, 100)
	t, err := b.newOpener(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if failed, err := touchMany(ctx, t.dial, count, 1); failed > 0 { // what stays for good comes now
		return nil, fmt.Errorf("warm up: %w", err)
	}
	before, err := settled(ctx, t.usages, t.idle)
	if err != nil {
		return nil, err
	}
	failed, first := touchMany(ctx, t.dial, count, 1)
	after, err := settled(ctx, t.usages, before)
	if err != nil {
		return nil, err
	}
	figures = append(figures, countErrors(fmt.Sprintf("%d opens in turn, errors", count), failed, first))
	for i, name := range []string{"latchkeyd", "latchkey tunnel"} {
		figures = append(figures,
			figure{
				Name: "  descriptors left in " + name, Value: float64(after[i].files - before[i].files), Goal: atMost(0),
				Note: fmt.Sprintf("%d before", before[i].files),
			},
			figure{
				Name: "  memory grown in " + name, Value: float64(after[i].rss-before[i].rss) / 1e6, Unit: "MB",
				Note: number(float64(before[i].rss)/1e6) + " MB before; the heap is judged below",
			})
	}
	return figures, nil
}

func countErrors(name string, failed int64, first error) figure {
	f := figure{Name: name, Value: float64(failed), Goal: errorFree}
	if first != nil {
		f.Note = first.Error()
	}
	return f
}

// An opener is a tunnel command to an echo, over unix sockets: a hundred
// thousand TCP connections would be a test of this machine's free ports.
type opener struct {
	site    *site
	command *process
	server  *target
	local   string
	idle    []usage // before the first connection
}

func (b *bed) newOpener(ctx context.Context) (*opener, error) {
	server, err := listenUnix(b.dir, fmt.Sprintf("echo%d", b.sites), echo)
	if err != nil {
		return nil, err
	}
	o := &opener{server: server, local: filepath.Join(b.dir, fmt.Sprintf("local%d", b.sites))}
	if o.site, err = b.newSite(ctx, server.service("echo")); err == nil {
		o.command, err = o.site.tunnel(ctx, "echo:unix:"+o.local)
	}
	if err == nil {
		o.idle, err = o.usages()
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *opener) close() error {
	var err error
	if o.site != nil {
		err = o.site.close()
	}
	o.server.close()
	return err
}

func (o *opener) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", o.local)
}

// usages is what daemon and command hold.
func (o *opener) usages() ([]usage, error) {
	device, err := o.site.daemon.usage()
	if err != nil {
		return nil, err
	}
	command, err := o.command.usage()
	return []usage{device, command}, err
}

// settled looks until nobody holds more descriptors than before, or for
// settleTime.
func settled(ctx context.Context, look func() ([]usage, error), before []usage) ([]usage, error) {
	deadline := time.Now().Add(settleTime)
	for {
		now, err := look()
		if err != nil || time.Now().After(deadline) {
			return now, err
		}
		more := false
		for i := range now {
			more = more || now[i].files > before[i].files
		}
		if !more {
			return now, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// A holding is what this process holds.
type holding struct {
	goroutines int
	heap       int64 // bytes that the collector finds in use
}

func hold() holding {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // empties what sync.Pool kept through the first
	runtime.ReadMemStats(&m)
	return holding{runtime.NumGoroutine(), int64(m.HeapAlloc)}
}

// churnInside does the same with both ends in this process.
func (b *bed) churnInside(ctx context.Context) (figures []figure, err error) {
	count := b.amount(1000, 100)
	server, err := listenTCP(echo)
	if err != nil {
		return nil, err
	}
	defer server.close()
	p, err := newPair(ctx, filepath.Join(b.dir, "pair"), server.service("echo"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	dial := func(ctx context.Context) (net.Conn, error) { return p.conn.Tunnel(ctx, "echo") }
	if failed, err := touchMany(ctx, dial, count, 1); failed > 0 {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	before := hold()
	failed, first := touchMany(ctx, dial, count, 1)
	after := hold()
	for deadline := time.Now().Add(settleTime); after.goroutines > before.goroutines && time.Now().Before(deadline); {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
		after = hold()
	}
	return []figure{
		countErrors(fmt.Sprintf("%d opens in turn, both ends in one process, errors", count), failed, first),
		{
			Name: "  goroutines left", Value: float64(after.goroutines - before.goroutines), Goal: atMost(0),
			Note: fmt.Sprintf("%d before", before.goroutines),
		},
		{
			Name: "  heap grown", Value: float64(after.heap-before.heap) / 1e6, Unit: "MB", Goal: atMost(0.25),
			Note: fmt.Sprintf("%s MB before; the target allows noise of 250 bytes for each open", number(float64(before.heap)/1e6)),
		},
	}, nil
}

// measureOpens opens more tunnels through one command than a session has stream
// ids, three times over.
func measureOpens(ctx context.Context, b *bed) (figures []figure, err error) {
	count := b.amount(100_000, 2000)
	t, err := b.newOpener(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	tenth := count / 10
	failed, first := touchMany(ctx, t.dial, tenth, opensAtOnce)
	before, err := t.usages()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for i := range 9 {
		more, err := touchMany(ctx, t.dial, tenth, opensAtOnce)
		if failed += more; first == nil {
			first = err
		}
		b.say("%d opened, %d failed", (i+2)*tenth, failed)
		if ctx.Err() != nil {
			break
		}
	}
	rate := float64(9*tenth) / time.Since(start).Seconds()
	after, err := settled(ctx, t.usages, t.idle)
	if err != nil {
		return nil, err
	}
	return []figure{
		countErrors(fmt.Sprintf("%d opens through one command, errors", count), failed, first),
		{Name: "  opened", Value: rate, Unit: "/s", Note: fmt.Sprintf("%d at a time", opensAtOnce)},
		{
			Name: "  memory grown in latchkeyd", Value: float64(after[0].rss-before[0].rss) / 1e6, Unit: "MB",
			Note: fmt.Sprintf("since the first tenth; %s MB then", number(float64(before[0].rss)/1e6)),
		},
		{
			Name: "  memory grown in latchkey tunnel", Value: float64(after[1].rss-before[1].rss) / 1e6, Unit: "MB",
			Note: fmt.Sprintf("since the first tenth; %s MB then", number(float64(before[1].rss)/1e6)),
		},
	}, nil
}

// opensAtOnce keeps both cores busy and stays below the number of opens that a
// session leaves unanswered.
const opensAtOnce = 8
