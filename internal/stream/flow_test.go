package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// flows returns a Config that hands accepted flows over.
func flows(accepted chan *Flow) Config {
	return Config{Accept: func(in *Incoming) {
		if !in.Datagram() {
			in.Refuse(latchkey.CodeProtocol)
			return
		}
		if _, err := in.Accept(); err == nil {
			panic("a flow was accepted as a stream")
		}
		f, err := in.AcceptDatagram()
		if err == nil {
			accepted <- f
			<-in.Context().Done()
		}
	}}
}

func bothFlows(t testing.TB, way path) (client, device *Flow, p *pair) {
	t.Helper()
	accepted := make(chan *Flow, 1)
	p = newPair(t, Config{}, flows(accepted), way)
	client, err := p.client.OpenDatagram(t.Context(), "dns")
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted, p
}

// readFlow reads one datagram.
func readFlow(t testing.TB, f *Flow) []byte {
	t.Helper()
	b := make([]byte, maxDatagram)
	_ = f.SetReadDeadline(time.Now().Add(patience))
	n, err := f.Read(b)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return b[:n]
}

func TestFlow(t *testing.T) {
	client, device, p := bothFlows(t, path{})
	for _, want := range [][]byte{[]byte("question"), {}, random(1, 1400), random(2, maxDatagram), {0}} {
		for _, way := range [][2]*Flow{{client, device}, {device, client}} {
			if n, err := way[0].Write(want); n != len(want) || err != nil {
				t.Fatalf("write: %d %v", n, err)
			}
			if got := readFlow(t, way[1]); !bytes.Equal(got, want) {
				t.Errorf("%d bytes became %d", len(want), len(got))
			}
		}
	}
	if _, err := client.Write(make([]byte, maxDatagram+1)); !errors.Is(err, latchkey.ErrTooLarge) {
		t.Errorf("a datagram too large: %v", err)
	}
	_, _ = client.Write([]byte("truncated"))
	b := make([]byte, 5)
	if n, err := device.Read(b); string(b[:n]) != "trunc" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	_ = client.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := client.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if a := client.LocalAddr(); a.Network() != "udp" || a.String() != "dns" || client.Service() != "dns" {
		t.Errorf("address %s %s", a.Network(), a)
	}
	_ = client.Close()
	eventually(t, "the device's flow ends", func() bool {
		_, err := device.Read(b)
		return err == io.EOF
	})
	if _, err := client.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := client.Write(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	_ = device.Close()
	eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
}

func TestFlowRefusedAndReset(t *testing.T) {
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) { in.Refuse(latchkey.CodeForbidden) }}, path{})
	if _, err := p.client.OpenDatagram(t.Context(), "dns"); !errors.Is(err, latchkey.ErrForbidden) {
		t.Errorf("refused: %v", err)
	}
	eventually(t, "both sides forget", func() bool { return channels(p.client)+channels(p.device) == 0 })
	client, device, _ := bothFlows(t, path{})
	device.Reset(latchkey.CodeTargetRefused)
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrTargetRefused) {
		t.Errorf("read: %v", err)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, latchkey.ErrTargetRefused) {
		t.Errorf("write: %v", err)
	}
}

// Of what nobody reads, the newest is kept, in bounded memory.
func TestFlowDropsOldest(t *testing.T) {
	client, device, _ := bothFlows(t, path{})
	const n = 3 * maxQueued
	for i := range n {
		_, _ = client.Write([]byte(fmt.Sprint(i)))
		eventually(t, "it arrives", func() bool { return newest(device) == fmt.Sprint(i) })
	}
	for i := n - maxQueued; i < n; i++ {
		if got := readFlow(t, device); string(got) != fmt.Sprint(i) {
			t.Fatalf("read %q, want %d", got, i)
		}
	}
	for i := range uint64(20) {
		big := random(i, 60_000)
		_, _ = client.Write(big)
		eventually(t, "it arrives", func() bool { return newest(device) == string(big) })
	}
	q := device.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > startCredit || len(q.queue) < 3 {
		t.Errorf("%d datagrams of %d bytes wait", len(q.queue), q.bytes)
	}
}

func newest(f *Flow) string {
	f.queue.mu.Lock()
	defer f.queue.mu.Unlock()
	if n := len(f.queue.queue); n > 0 {
		return string(f.queue.queue[n-1])
	}
	return ""
}

// Lost datagrams stay lost, none comes twice, and none is held up for another.
func TestFlowOnBadPath(t *testing.T) {
	client, device, _ := bothFlows(t, path{loss: 0.1, dup: 0.05, swap: 0.05})
	const n = 2000
	var arrived atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := make(map[string]bool)
		b := make([]byte, 100)
		for {
			k, err := device.Read(b)
			if err != nil {
				return
			}
			if seen[string(b[:k])] {
				t.Errorf("datagram %s came twice", b[:k])
			}
			seen[string(b[:k])] = true
			arrived.Add(1)
		}
	}()
	for i := range n {
		_, _ = client.Write([]byte(fmt.Sprint(i)))
		if i%10 == 0 {
			time.Sleep(time.Millisecond) // a sender that is not one burst
		}
	}
	eventually(t, "most arrive", func() bool { return arrived.Load() > n/2 })
	_ = client.Close()
	if <-done; arrived.Load() >= n {
		t.Error("nothing was lost")
	}
}

// The channel of the datagrams may come before the one that it belongs to.
func TestFlowChannelFirst(t *testing.T) {
	accepted := make(chan *Flow, 1)
	f := newForeign(t, flows(accepted))
	d := f.channel(2)
	d.send(ppiDCEP, string(dcepOpenMessage{channelType: channelUnorderedRexmit, label: "0", protocol: protocolDatagram}.append(nil)))
	d.expect(acked)
	for i := range 3 {
		d.send(ppiBinary, strings.Repeat(fmt.Sprint(i), 6000)) // the first of them is more than may wait
	}
	f.peer.mu.Lock()
	waiting := &Flow{queue: f.peer.flows[0]}
	f.peer.mu.Unlock()
	eventually(t, "datagrams wait", func() bool { return strings.HasPrefix(newest(waiting), "2") })
	c := f.open(0, "dns")
	c.send(ppiText, `{"credit":0}`)
	c.expect(acked, `51 {"open":"ok","credit":0}`)
	flow := <-accepted
	for i := 1; i < 3; i++ {
		if got := readFlow(t, flow); string(got) != strings.Repeat(fmt.Sprint(i), 6000) {
			t.Errorf("datagram %d is %d bytes of %c", i, len(got), got[0])
		}
	}
	_, _ = flow.Write([]byte("answer"))
	_, _ = flow.Write(nil)
	d.expect("53 answer", "57 \x00")
	c.send(ppiBinary, "x")
	c.expect(violation, "end")
	d.expect("end")
	if _, err := flow.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("read: %v", err)
	}
}

// Channels of datagrams that belong to nothing are closed.
func TestFlowStrays(t *testing.T) {
	accepted := make(chan *Flow, 1)
	f := newForeign(t, flows(accepted))
	datagrams := func(id uint16, label string) *foreignChannel {
		c := f.channel(id)
		c.send(ppiDCEP, string(dcepOpenMessage{channelType: channelUnorderedRexmit, label: label, protocol: protocolDatagram}.append(nil)))
		c.expect(acked)
		return c
	}
	refused := `51 {"open":"refused","code":2}`
	flow := f.open(0, "dns")
	flow.send(ppiText, `{"credit":0}`)
	flow.expect(acked, `51 {"open":"ok","credit":0}`)
	datagrams(2, "0")
	datagrams(4, "0").expect(refused, "end") // a second one
	parked := datagrams(6, "8")
	eventually(t, "it waits for its tunnel", func() bool {
		f.peer.mu.Lock()
		defer f.peer.mu.Unlock()
		return f.peer.flows[8] != nil
	})
	tunnel := f.open(8, "dns")
	tunnel.send(ppiText, `{"credit":1}`) // no flow after all
	tunnel.expect(acked, refused, "end")
	parked.expect("end")
	datagrams(10, "8").expect(refused, "end") // of a tunnel that is over
	flow.send(ppiText, `{"fin":true}`)
	flow.expect(`51 {"fin":true}`, "end")
	datagrams(12, "0").expect(refused, "end") // of a flow that is over
	waits := datagrams(14, "16")
	_ = waits.Close()
	waits.expect("end")
	eventually(t, "it is forgotten", func() bool {
		f.peer.mu.Lock()
		defer f.peer.mu.Unlock()
		return len(f.peer.flows) == 0
	})
}

func BenchmarkFlow(b *testing.B) {
	client, device, _ := bothFlows(b, path{})
	datagram := make([]byte, 1100)
	b.SetBytes(int64(len(datagram)))
	b.ReportAllocs()
	go func() {
		for {
			if _, err := device.Read(make([]byte, 1500)); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		_, _ = client.Write(datagram)
	}
	_ = client.Close()
}
