package stream

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestEcho(t *testing.T) {
	p := newPair(t, Config{}, accepting(echo), path{})
	s := open(t, p, "echo")
	go func() {
		s.Write([]byte("hello"))
		s.CloseWrite()
	}()
	b, err := io.ReadAll(s)
	if string(b) != "hello" || err != nil {
		t.Fatalf("%q %v", b, err)
	}
	s.Close()
	eventually(t, "all gone", func() bool { return p.client.Live() == 0 && p.device.Live() == 0 })
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func TestParallel(t *testing.T) {
	size := 5 << 20
	if testing.Short() {
		size = 256 << 10
	}
	p := newPair(t, Config{}, accepting(echo), path{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			s := open(t, p, fmt.Sprint(i))
			defer s.Close()
			want := random(uint64(i), size)
			go func() {
				s.Write(want)
				s.CloseWrite()
			}()
			h := sha256.New()
			n, err := io.Copy(h, s)
			sum := sha256.Sum256(want)
			if err != nil || n != int64(size) || !bytes.Equal(h.Sum(nil), sum[:]) {
				t.Errorf("stream %d: %d bytes, %v", i, n, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkThroughput(b *testing.B) {
	client, device, _ := both(b, path{})
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		buf := make([]byte, 64<<10)
		for range b.N {
			client.Write(buf)
		}
		client.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, device); err != nil || n != int64(b.N)<<16 {
		b.Fatal(n, err)
	}
}
