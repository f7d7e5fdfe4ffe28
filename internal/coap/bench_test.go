package coap

import (
	"testing"
)

func direct(b *testing.B) *Endpoint {
	var x, y *Endpoint
	x = New(Config{Log: quiet, Send: func(d []byte) error { y.Deliver(d); return nil }})
	y = New(Config{Log: quiet, Handler: echo, Send: func(d []byte) error { x.Deliver(d); return nil }})
	b.Cleanup(func() { x.Close(); y.Close(); x.Wait(); y.Wait() })
	return x
}

func BenchmarkGet(b *testing.B) {
	x := direct(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Do(b.Context(), NewRequest(GET, "light", "1")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func BenchmarkGet32(b *testing.B) {
	x := direct(b)
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
