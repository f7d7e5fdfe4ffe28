package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// hello is the first datagram of a handshake.
func hello(t *testing.T) []byte {
	t.Helper()
	first := make(chan []byte, 1)
	h := secure.NewClient(secure.Config{Identity: newIdentity(t), Verify: func(secure.Peer) error { return nil }, Log: testLog(t)}, func(b []byte) error {
		select {
		case first <- append([]byte(nil), b...):
		default:
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		_, _ = h.Run(ctx)
	}()
	b := <-first
	cancel()
	<-ended
	return b
}

// randomAt is where the 28 random bytes of a ClientHello are (RFC 6347 section
// 4.2.2, RFC 5246 section 7.4.1.2): after the headers of record and message, the
// version and the time.
const randomAt = 13 + 12 + 2 + 4

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestFloodOfHellos: a hundred thousand handshakes are begun from forged
// addresses while fifty devices attach. All of them do.
func TestFloodOfHellos(t *testing.T) {
	store, info := station(t)
	s := &site{t: t, store: store, info: info}
	const devices, hellos, sockets = 50, 100_000, 8
	ids := make([]latchkey.DeviceID, devices)
	keys := make([]*latchkey.Identity, devices)
	for i := range devices {
		ids[i], keys[i] = latchkey.DeviceID{Product: "acme", Device: fmt.Sprintf("d%d", i)}, newIdentity(t)
		s.register(ids[i], keys[i])
	}
	first := hello(t)
	memory, goroutines := heap(), runtime.NumGoroutine()
	var work sync.WaitGroup
	began := time.Now()
	for n := range sockets {
		sock, err := packet.Listen("0.0.0.0:0", packet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			defer sock.Close()
			random := rand.New(rand.NewPCG(uint64(n), 7))
			b := append([]byte(nil), first...)
			for range hellos / sockets {
				binary.BigEndian.PutUint64(b[randomAt:], random.Uint64())
				source := netip.AddrFrom4([4]byte{127, byte(16 + random.IntN(200)), byte(random.Uint32()), byte(1 + random.IntN(250))})
				if err := sock.Send(b, info.Addrs[0], source); err != nil {
					t.Errorf("hello: %v", err)
					return
				}
			}
		})
	}
	peak := make(chan int, 1)
	flooding, over := context.WithCancel(t.Context())
	go func() { // ends with flooding
		most := 0
		for flooding.Err() == nil {
			most = max(most, runtime.NumGoroutine())
			select {
			case <-flooding.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		peak <- most
	}()
	var attaching sync.WaitGroup
	for i := range devices {
		attaching.Go(func() {
			c, err := tryCall(t, keys[i], fmt.Sprintf("127.0.3.%d", 1+i), info.Addrs[0], info.Fingerprint)
			if err != nil {
				t.Errorf("device %d: %v", i, err)
				return
			}
			answer, err := c.ask(coap.POST, signal.PathAttach, &signal.Attach{ID: ids[i], Version: "1", Time: time.Now()})
			if err != nil || answer.Code != coap.Created {
				t.Errorf("device %d: %+v, %v", i, answer, err)
			}
		})
	}
	attaching.Wait()
	took := time.Since(began)
	work.Wait()
	over()
	most := <-peak
	t.Logf("attached in %v, flood took %v, %d goroutines at most, %d KiB more", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), most, int64(heap()-memory)>>10)
	// 256 handshakes in progress of four goroutines, and the devices' own.
	if most > goroutines+256*4+devices*16 {
		t.Errorf("%d goroutines, %d before", most, goroutines)
	}
	if grown := int64(heap()) - int64(memory); grown > 64<<20 {
		t.Errorf("%d MiB more in use", grown>>20)
	}
}

// TestNoiseGetsNothing: neither port says a word to noise.
func TestNoiseGetsNothing(t *testing.T) {
	_, info := station(t)
	random := rand.New(rand.NewPCG(3, 4))
	sock, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(info.Addrs[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	noise := make([]byte, 1400)
	for i := range 5000 {
		for k := range noise {
			noise[k] = byte(random.Uint32())
		}
		noise[0] = byte(i) // every protocol's turn
		if _, err := sock.Write(noise[:1+random.IntN(len(noise)-1)]); err != nil {
			t.Fatal(err)
		}
	}
	_ = sock.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := sock.Read(noise); err == nil {
		t.Errorf("%d bytes came back by UDP: %x", n, noise[:n])
	}
	for i := range 60 {
		for k := range noise {
			noise[k] = byte(random.Uint32())
		}
		if noise[0] = byte(i * 4); noise[0] == 22 {
			noise[0]++ // TLS, which has a right to an alert
		}
		conn, err := net.Dial("tcp", info.Addrs[0].String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(noise)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 100)); n > 0 {
			t.Errorf("%d bytes came back by TCP after %#x, %v", n, noise[0], err)
		}
		_ = conn.Close()
	}
}

// TestSlowSourcesDelayNobody: a source that leaves handshakes and connections
// half open is bounded, and others attach as if it were not there.
func TestSlowSourcesDelayNobody(t *testing.T) {
	store, info := station(t)
	s := &site{t: t, store: store, info: info}
	slow := netip.MustParseAddr("127.0.4.1")
	// As many TCP connections as it may have, and more.
	var conns []net.Conn
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: slow.AsSlice()}}
	for range 300 {
		conn, err := dialer.DialContext(t.Context(), "tcp", info.Addrs[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{22})
		conns = append(conns, conn)
	}
	var closed atomic.Int64
	var reading sync.WaitGroup
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second)) // sooner than the basestation gives up
		reading.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); err != nil && !isTimeout(err) {
				closed.Add(1)
			}
		})
	}
	reading.Wait()
	if n := closed.Load(); n != 300-256 {
		t.Errorf("%d of 300 connections were closed, want %d", n, 300-256)
	}
	// And handshakes that go no further than the first datagram.
	first := hello(t)
	sock, err := packet.Listen(slow.String()+":0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	for i := range 2000 {
		binary.BigEndian.PutUint64(first[randomAt:], uint64(i))
		_ = sock.Send(first, info.Addrs[0], netip.Addr{})
	}
	id := latchkey.DeviceID{Product: "acme", Device: "gw1"}
	key := newIdentity(t)
	s.register(id, key)
	began := time.Now()
	c := s.call(key, "127.0.4.2")
	if answer := c.must(coap.POST, signal.PathAttach, &signal.Attach{ID: id, Version: "1", Time: time.Now()}); answer.Code != coap.Created {
		t.Errorf("%v", answer.Code)
	}
	t.Logf("attached in %v", time.Since(began).Round(time.Millisecond))
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 4, 3)}}
	conn, err := other.DialContext(t.Context(), "tcp", info.Addrs[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("a connection from elsewhere: %v", err)
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
