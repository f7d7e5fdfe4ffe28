package coap

import (
	"context"
	"encoding/binary"
	"testing"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// direct connects two endpoints by plain calls.
func direct(b *testing.B, h Handler) *Endpoint {
	var x, y *Endpoint
	x = New(Config{Log: quiet, Send: func(d []byte) error { y.Deliver(d); return nil }})
	y = New(Config{Log: quiet, Handler: h, Send: func(d []byte) error { x.Deliver(d); return nil }})
	b.Cleanup(func() { x.Close(); y.Close(); x.Wait(); y.Wait() })
	return x
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// BenchmarkGet asks one request at a time; both ends share the cores.
func BenchmarkGet(b *testing.B) {
	x := direct(b, echo)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Do(b.Context(), NewRequest(GET, "light", "1")); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b)
}

// BenchmarkGet32 keeps 32 requests in flight on two cores.
func BenchmarkGet32(b *testing.B) {
	x := direct(b, echo)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := x.Do(b.Context(), NewRequest(GET, "light", "1")); err != nil {
				b.Error(err)
				return
			}
		}
	})
	perSecond(b)
}

// BenchmarkServe is the serving end alone.
func BenchmarkServe(b *testing.B) {
	answered := make(chan struct{}, 1)
	e := New(Config{Log: quiet, Handler: echo, Send: func([]byte) error { answered <- struct{}{}; return nil }})
	b.Cleanup(func() { e.Close(); e.Wait() })
	get := wire(b, con(0, "01234567", GET, codec.URIPath, "light", codec.URIPath, "1"))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint16(get[2:], uint16(i))
		binary.BigEndian.PutUint32(get[4:], uint32(i))
		e.Deliver(get)
		<-answered
	}
	perSecond(b)
}

// BenchmarkPut moves bodies of 1 MiB in blocks of 1024 bytes.
func BenchmarkPut(b *testing.B) {
	x := direct(b, func(context.Context, *Request) *Response { return NewResponse(Changed) })
	r := NewRequest(PUT, "firmware")
	r.Body = make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if _, err := x.Do(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
