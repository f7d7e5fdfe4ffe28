//go:build lab

package world

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// echoUDP returns whatever a socket of the basestation gets, to the end.
func echoUDP(t *testing.T, w *World) netip.AddrPort {
	t.Helper()
	c := listen(t, w.Base.Node, netip.AddrPortFrom(w.Base.Addr(), 7))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return local(c)
}

// roundTrips measures n of them, one after another.
func roundTrips(t *testing.T, c *net.UDPConn, to netip.AddrPort, n int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range n {
		start := time.Now()
		send(t, c, fmt.Sprint(i), to)
		if _, _, ok := receive(t, c, patience); !ok {
			t.Fatal("no echo")
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took
}

// The link alone carries what the figures of the product need: 40 ms there and
// back within 1 ms, and 200 Mbit/s each way at the same delay.
func TestWireCarries(t *testing.T) {
	delay := &Conditions{Delay: 20 * time.Millisecond}
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted, Wire: delay}}})
	h := w.Sites[0].Hosts[0]
	c := listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 0))
	echo := echoUDP(t, w)
	roundTrips(t, c, echo, 1) // finds the neighbours
	took := roundTrips(t, c, echo, 100)
	t.Logf("round trip: least %v, median %v, 95th percentile %v, most %v", took[0], took[50], took[95], took[99])
	if median := took[50]; median < 40*time.Millisecond || median > 41*time.Millisecond {
		t.Errorf("round trip %v, want 40 ms and at most 1 ms more", median)
	}
	for _, way := range []string{"out", "in"} {
		bits := throughput(t, w.Base, h, way == "out", 64<<20)
		t.Logf("TCP %s: %.0f Mbit/s", way, bits/1e6)
		if bits < 200e6 {
			t.Errorf("TCP %s: %.0f Mbit/s, want at least 200", way, bits/1e6)
		}
	}
	out, in := w.Sites[0].Wire.Traffic()
	t.Logf("out %+v, in %+v", out, in)
	if out.Lost+in.Lost != 0 {
		t.Error("frames were lost without a condition that asks for it")
	}
}

// throughput sends bytes by TCP between a host and the basestation and returns
// bits per second after the first tenth.
func throughput(t *testing.T, base, h *Host, out bool, bytes int64) float64 {
	t.Helper()
	var l net.Listener
	var client net.Conn
	var err error
	base.Do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(base.Addr(), 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		client, err = new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	from, to := server, client
	if out {
		from, to = client, server
	}
	limit := time.Now().Add(3 * patience)
	if err := from.SetDeadline(limit); err != nil {
		t.Fatal(err)
	}
	if err := to.SetDeadline(limit); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(from, io.LimitReader(zeros{}, bytes))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, to, bytes/10); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n, err := io.CopyN(io.Discard, to, bytes-bytes/10)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return float64(n) * 8 / took.Seconds()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Conditions change as datagrams flow, and each does what it says.
func TestWireConditions(t *testing.T) {
	w := New(t, Config{Seed: 7, Sites: []SiteConfig{{Kind: None, Wire: &Conditions{}}}})
	h, wire := w.Sites[0].Hosts[0], w.Sites[0].Wire
	c := listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 0))
	base := listen(t, w.Base.Node, netip.AddrPortFrom(w.Base.Addr(), 9))
	if err := base.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	// Datagrams that wait for a neighbour's address leave after later ones.
	send(t, c, "0 first", local(base))
	receive(t, base, patience)
	const n = 2000
	sent, _ := wire.Traffic()
	total := sent.Frames
	// run sends numbered datagrams, and at last one that nothing happens to.
	run := func(cond Conditions) (numbers []int, took time.Duration) {
		t.Helper()
		wire.SetEach(cond, Conditions{})
		start := time.Now()
		for i := range n {
			send(t, c, fmt.Sprintf("%d %s", i, strings.Repeat(".", 900)), local(base))
			if i%50 == 49 && cond.Rate == 0 {
				time.Sleep(time.Millisecond) // a socket buffer is not the subject
			}
		}
		total += n
		settle(t, wire, total)
		wire.Set(Conditions{})
		time.Sleep(cond.Delay + cond.Jitter + defaultHold + cond.Queue)
		send(t, c, "-1 end", local(base))
		for {
			text, _, ok := receive(t, base, patience)
			var i int
			if _, err := fmt.Sscan(text, &i); !ok || err != nil {
				t.Fatalf("received %q: %v", text, err)
			}
			if i < 0 {
				return numbers, took
			}
			took = time.Since(start)
			numbers = append(numbers, i)
		}
	}
	t.Run("nothing", func(t *testing.T) {
		if got, _ := run(Conditions{}); len(got) != n || !slices.IsSorted(got) {
			t.Errorf("%d of %d, in order: %v", len(got), n, slices.IsSorted(got))
		}
	})
	t.Run("loss", func(t *testing.T) {
		got, _ := run(Conditions{Loss: 0.2})
		if share := 1 - float64(len(got))/n; share < 0.16 || share > 0.24 {
			t.Errorf("lost %.3f, want 0.2", share)
		}
	})
	t.Run("duplication", func(t *testing.T) {
		got, _ := run(Conditions{Duplicate: 0.3})
		if share := float64(len(got))/n - 1; share < 0.25 || share > 0.35 {
			t.Errorf("%.3f more, want 0.3", share)
		}
	})
	t.Run("jitter keeps the order", func(t *testing.T) {
		got, _ := run(Conditions{Delay: time.Millisecond, Jitter: 20 * time.Millisecond})
		if len(got) != n || !slices.IsSorted(got) {
			t.Errorf("%d of %d, in order: %v", len(got), n, slices.IsSorted(got))
		}
	})
	t.Run("reordering", func(t *testing.T) {
		got, _ := run(Conditions{Reorder: 0.1})
		late := 0
		for i, v := range got[1:] {
			if v < got[i] {
				late++
			}
		}
		if len(got) != n || late < n/100 {
			t.Errorf("%d of %d arrived, %d after a later one", len(got), n, late)
		}
	})
	t.Run("cut", func(t *testing.T) {
		if got, _ := run(Conditions{Loss: 1}); len(got) != 0 {
			t.Errorf("%d passed a cut wire", len(got))
		}
	})
}

// settle waits until the wire has taken n frames.
func settle(t *testing.T, wire *Wire, n uint64) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		out, _ := wire.Traffic()
		if out.Frames >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the wire has taken %d frames of %d", out.Frames, n)
		}
	}
}

// The rate holds: a TCP transfer fills it and does not exceed it.
func TestWireRate(t *testing.T) {
	c := &Conditions{Delay: 5 * time.Millisecond, Rate: 10e6}
	w := New(t, Config{Sites: []SiteConfig{{Kind: None, Wire: c}}})
	bits := throughput(t, w.Base, w.Sites[0].Hosts[0], true, 4<<20)
	t.Logf("%.2f Mbit/s", bits/1e6)
	if bits > 10.2e6 || bits < 8e6 {
		t.Errorf("%.2f Mbit/s over a wire of 10", bits/1e6)
	}
}
