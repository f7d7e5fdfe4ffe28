package relay

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

// BenchmarkForward measures one session through Deliver: channel data in,
// channel data out, in the sizes of a full and a small datagram.
func BenchmarkForward(b *testing.B) {
	for name, c := range map[string]struct {
		size     int
		from, to uint16
	}{
		"1200_same_number": {1200, 0x4000, 0x4000}, "1200_other_number": {1200, 0x4000, 0x4001},
		"64_same_number": {64, 0x4000, 0x4000},
	} {
		b.Run(name, func(b *testing.B) {
			n := newNet(b, Config{Limits: Limits{Rate: 1 << 50, Bytes: 1 << 60}})
			cg, dg, _ := n.grant()
			from, to := n.peer("10.1.0.1:1", cg), n.peer("10.1.0.2:1", dg)
			from.allocate()
			to.allocate()
			if from.bind(c.from, cg.Peer)+to.bind(c.to, dg.Peer) != 0 {
				b.Fatal("no channel")
			}
			var sent atomic.Int64
			n.s.udp.send = func(p []byte, _ netip.AddrPort) error {
				sent.Add(int64(len(p)))
				return nil
			}
			p := frame(c.from, make([]byte, c.size))
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for b.Loop() {
				n.s.Deliver(p, from.src)
			}
			if want := int64(b.N) * int64(c.size+channelHeader); sent.Load() != want {
				b.Errorf("%d bytes sent, want %d", sent.Load(), want)
			}
		})
	}
}

// BenchmarkLoopback measures one session over UDP sockets of this machine, with
// sender and receiver beside the relay.
func BenchmarkLoopback(b *testing.B) {
	h := newHost(b, "127.0.0.1", Config{Limits: Limits{Rate: 1 << 50, Bytes: 1 << 60}})
	cg, dg, _, err := h.s.Grant(client, device, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	n := &testNet{t: b, s: h.s, peers: map[netip.AddrPort]*peer{}}
	var received atomic.Int64
	bound := func(g signal.Grant) *net.UDPConn {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.SetReadBuffer(4 << 20)
		p := n.peer(conn.LocalAddr().String(), g)
		var reader sync.WaitGroup
		reader.Go(func() {
			buf := make([]byte, 2048)
			for {
				k, _, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				if buf[0] <= 3 {
					p.inbox <- append([]byte(nil), buf[:k]...)
				} else {
					received.Add(int64(k - channelHeader))
				}
			}
		})
		b.Cleanup(func() {
			_ = conn.Close()
			reader.Wait()
		})
		p.allocate()
		if code := p.bind(0x4000, g.Peer); code != 0 {
			b.Fatalf("ChannelBind answered %d", code)
		}
		return conn
	}
	from := bound(cg)
	bound(dg)
	p := frame(0x4000, make([]byte, 1200))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := from.WriteToUDPAddrPort(p, h.udp); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	mega := float64(received.Load()) * 8 / 1e6
	b.ReportMetric(mega/b.Elapsed().Seconds(), "Mbit/s")
	b.ReportMetric(100-100*float64(received.Load())/float64(1200*b.N), "%lost")
}
