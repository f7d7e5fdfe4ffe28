package main

import (
	"context"
	"io"
	"math"
	"net"
	"testing"
	"time"
)

// benchPair is a pair for a benchmark: both ends in one process, so that one
// profile shows the whole path.
//
//	go test -run - -bench Tunnel -cpuprofile cpu.out
func benchPair(b *testing.B, handle func(net.Conn) error) *pair {
	b.Helper()
	target, err := listenTCP(handle)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(target.close)
	p, err := newPair(b.Context(), b.TempDir(), target.service("bench"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.close(); err != nil {
			b.Error(err)
		}
	})
	return p
}

func open(b *testing.B, p *pair) net.Conn {
	b.Helper()
	conn, err := p.conn.Tunnel(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// BenchmarkTunnelUp measures chunks of 64 KiB from the client to a target.
func BenchmarkTunnelUp(b *testing.B) {
	arrived := make(chan int64, 1)
	p := benchPair(b, func(conn net.Conn) error {
		n, err := io.CopyBuffer(onlyWriter{io.Discard}, conn, make([]byte, chunkSize))
		arrived <- n
		return err
	})
	conn, chunk := open(b, p), make([]byte, chunkSize)
	sent := int64(0)
	b.SetBytes(chunkSize)
	for b.Loop() {
		n, err := conn.Write(chunk)
		if sent += int64(n); err != nil {
			b.Fatal(err)
		}
	}
	if err := closeWrite(conn); err != nil {
		b.Fatal(err)
	}
	if n := <-arrived; n != sent {
		b.Errorf("%d bytes of %d arrived", n, sent)
	}
}

// onlyWriter hides the other methods of a writer, as onlyReader does.
type onlyWriter struct{ io.Writer }

// BenchmarkTunnelDown measures the same from a target to the client.
func BenchmarkTunnelDown(b *testing.B) {
	p := benchPair(b, source)
	conn, chunk := open(b, p), make([]byte, chunkSize)
	if err := (order{Bytes: math.MaxInt64}).send(conn); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(chunkSize)
	for b.Loop() {
		if _, err := io.ReadFull(conn, chunk); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen measures opening a tunnel, eight bytes each way, and closing.
func BenchmarkOpen(b *testing.B) {
	p := benchPair(b, echo)
	dial := func(ctx context.Context) (net.Conn, error) { return p.conn.Tunnel(ctx, "bench") }
	for n := uint64(0); b.Loop(); n++ {
		if err := touch(b.Context(), dial, n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet measures one CoAP request after the other.
func BenchmarkGet(b *testing.B) {
	p := benchPair(b, echo)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.conn.Get(b.Context(), resource); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet32 measures them with 32 in flight.
func BenchmarkGet32(b *testing.B) {
	p := benchPair(b, echo)
	c := &caller{conn: p.conn, want: []byte(p.conn.Device().String())}
	b.ReportAllocs()
	start, n := time.Now(), b.N
	b.ResetTimer()
	each, _ := c.run(b.Context(), 32, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sent >= n
	})
	b.ReportMetric(float64(len(each))/time.Since(start).Seconds(), "GET/s")
	if c.failed > 0 {
		b.Errorf("%d failed: %v", c.failed, c.first)
	}
}
