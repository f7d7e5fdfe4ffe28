package secure

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// BenchmarkRecords moves records of 1150 bytes from one Conn to another in
// memory, as fast as the receiver takes them.
func BenchmarkRecords(b *testing.B) {
	for _, size := range []int{64, 1150} {
		b.Run(sizeName(size), func(b *testing.B) { benchmarkRecords(b, size) })
	}
}

// BenchmarkSockets moves records of 1150 bytes through two UDP sockets on the
// loopback interface, one way.
func BenchmarkSockets(b *testing.B) {
	a, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		b.Fatal(err)
	}
	z, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		b.Fatal(err)
	}
	accepted := make(chan struct{})
	var received atomic.Int64
	server := &Server{Config: anyone(b), Send: z.Send, Accept: func(c *Conn) {
		close(accepted)
		_ = c.Serve(func([]byte) { received.Add(1) })
	}}
	client := NewClient(anyone(b), func(p []byte) error { return a.Send(p, z.LocalAddrs()[0], netip.Addr{}) })
	served := make(chan error, 3)
	go func() { served <- a.Serve(context.Background(), client.Deliver) }()
	go func() { served <- z.Serve(context.Background(), server.Deliver) }()
	conn, err := client.Run(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	<-accepted
	go func() { served <- conn.Serve(func([]byte) {}) }()
	payload := make([]byte, 1150)
	sent, last, stalls := int64(0), int64(0), 0
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		for n := received.Load(); sent-n >= 200; n = received.Load() {
			if time.Sleep(10 * time.Microsecond); n == last {
				if stalls++; stalls > 10000 { // a datagram was lost
					sent, stalls = n, 0
				}
			}
			last = n
		}
		if _, err := conn.Write(payload); err != nil {
			b.Fatal(err)
		}
		sent++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	_ = conn.Close()
	server.Close()
	_, _ = a.Close(), z.Close()
	for range cap(served) {
		<-served
	}
}

func sizeName(n int) string {
	if n == 64 {
		return "64B"
	}
	return "1150B"
}

func benchmarkRecords(b *testing.B, size int) {
	client, server, err := Pipe(b.Context(), anyone(b), anyone(b))
	if err != nil {
		b.Fatal(err)
	}
	var received atomic.Int64
	done := make(chan error, 2)
	go func() { done <- server.Serve(func(p []byte) { received.Add(1) }) }()
	go func() { done <- client.Serve(func([]byte) {}) }()
	payload := make([]byte, size)
	const window = 200 // records under way, well below the queue's length
	sent := int64(0)
	b.ReportAllocs()
	b.SetBytes(int64(size))
	for b.Loop() {
		for sent-received.Load() >= window {
			time.Sleep(10 * time.Microsecond)
		}
		if _, err := client.Write(payload); err != nil {
			b.Fatal(err)
		}
		sent++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	_, _ = client.Close(), server.Close()
	<-done
	<-done
}

// BenchmarkHandshake is a whole handshake, both sides.
func BenchmarkHandshake(b *testing.B) {
	client, server := anyone(b), anyone(b)
	for b.Loop() {
		c, s, err := Pipe(b.Context(), client, server)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = c.Close(), s.Close()
	}
}

// BenchmarkFlood is what a ClientHello from a forged source costs a Server
// whose budget for such sources is used up.
func BenchmarkFlood(b *testing.B) {
	s := &Server{
		Config: anyone(b), Limits: Limits{HalfOpen: 2, Unproven: time.Hour}, Accept: func(*Conn) {},
		Send: func([]byte, netip.AddrPort, netip.Addr) error { return nil },
	}
	template := hello(b)
	i := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		template[headerSize+handshakeHeader+2] = byte(i)
		source := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		s.Deliver(template, packet.Meta{Src: netip.AddrPortFrom(source, 4000)})
	}
	s.Close()
}
