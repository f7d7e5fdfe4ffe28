package relay

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

// pipe serves one end of a pipe and returns the other.
func (n *testNet) pipe() (conn net.Conn, served *sync.WaitGroup) {
	ours, theirs := net.Pipe()
	served = &sync.WaitGroup{}
	served.Go(func() { n.s.ServeConn(theirs) })
	n.t.Cleanup(func() {
		_ = ours.Close()
		served.Wait()
	})
	return ours, served
}

func message(t *testing.T, conn net.Conn) *stun.Message {
	t.Helper()
	b := make([]byte, stunHeader, 2000)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	b = b[:stunHeader+int(b[2])<<8+int(b[3])]
	if _, err := io.ReadFull(conn, b[stunHeader:]); err != nil {
		t.Fatal(err)
	}
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStreamFraming: messages arrive in any pieces, too large ones are skipped.
func TestStreamFraming(t *testing.T) {
	n := newNet(t, Config{})
	c, _, _ := n.grant()
	conn, _ := n.allocated(n.peer("10.2.0.1:1", c))
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	skipped := append(frame(0x4000, make([]byte, 1501)), 0, 0, 0)
	large := append(frame(0x4001, make([]byte, 65_533)), 0, 0, 0)
	all := bytes.Join([][]byte{request.Raw, skipped, request.Raw, large, request.Raw}, nil)
	go func() {
		for i, b := range all {
			if i < 100 || i > len(all)-100 {
				_, _ = conn.Write([]byte{b})
			} else if i == 100 {
				_, _ = conn.Write(all[100 : len(all)-99])
			}
		}
	}()
	for range 3 {
		if m := message(t, conn); m.TransactionID != request.TransactionID || m.Type != stun.BindingSuccess {
			t.Fatalf("answer %v", m)
		}
	}
}

// TestStreamEnds: a connection that makes no allocation, or sends what is not
// TURN, does not stay.
func TestStreamEnds(t *testing.T) {
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	for name, c := range map[string]struct {
		send []byte
		want time.Duration
	}{
		"silent":            {nil, 10 * time.Second},
		"part of a header":  {binding[:3], 10 * time.Second},
		"part of a message": {binding[:19], 10 * time.Second},
		"HTTP":              {[]byte("GET / HTTP/1.1\r\n\r\n"), 0},
		"TLS":               {[]byte{22, 3, 1, 0, 0, 0}, 0},
		"another cookie":    {make([]byte, 20), 0},
		"reserved channel":  {frame(0x5000, make([]byte, 20)), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNet(t, Config{})
			conn, served := n.pipe()
			start := time.Now()
			if c.send != nil {
				_, _ = conn.Write(c.send)
			}
			served.Wait()
			if took := time.Since(start); took != c.want {
				t.Errorf("%s: ended after %s, want %s", name, took, c.want)
			}
			if got := n.s.Stats().Streams; got != 0 {
				t.Errorf("%s: %d streams", name, got)
			}
		})
	}
}

// TestStreamBusy: requests without an allocation do not prolong the time.
func TestStreamBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Limits: Limits{Auth: 3 * time.Second}})
		conn, served := n.pipe()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		start := time.Now()
		for {
			if _, err := conn.Write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		served.Wait()
		if took := time.Since(start); took > 3100*time.Millisecond {
			t.Errorf("ended after %s", took)
		}
	})
}

// allocated is a connection with an allocation.
func (n *testNet) allocated(p *peer) (net.Conn, *sync.WaitGroup) {
	conn, served := n.pipe()
	for p.nonce == nil {
		_, _ = conn.Write(p.request(stun.MethodAllocate, udpTransport).Raw)
		if err := p.nonce.GetFrom(message(n.t.(*testing.T), conn)); err != nil {
			n.t.Fatal(err)
		}
	}
	_, _ = conn.Write(p.request(stun.MethodAllocate, udpTransport).Raw)
	if m := message(n.t.(*testing.T), conn); m.Type.Class != stun.ClassSuccessResponse {
		n.t.Fatalf("Allocate answered %v", m)
	}
	return conn, served
}

// TestStreamLife: an idle connection stays as long as its allocation.
func TestStreamLife(t *testing.T) {
	for name, end := range map[string]func(n *testNet, conn net.Conn, end func()){
		"end of the session": func(_ *testNet, _ net.Conn, end func()) { end() },
		"hang up":            func(_ *testNet, conn net.Conn, _ func()) { _ = conn.Close() },
		"close":              func(n *testNet, _ net.Conn, _ func()) { n.s.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNet(t, Config{})
			c, _, endSession := n.grant()
			conn, served := n.allocated(n.peer("10.2.0.1:1", c))
			time.Sleep(9 * time.Minute)
			if s := n.s.Stats(); s.Allocations != 1 || s.Streams != 1 {
				t.Fatalf("%s: after 9 minutes: %+v", name, s)
			}
			start := time.Now()
			end(n, conn, endSession)
			served.Wait()
			synctest.Wait()
			if took := time.Since(start); took > linger {
				t.Errorf("%s: took %s", name, took)
			}
			if s := n.s.Stats(); s.Allocations != 0 || s.Streams != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		})
	}
}

// TestStreamStalls: a peer that does not read costs a bounded buffer and then
// its connection, and its neighbours nothing.
func TestStreamStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Limits: Limits{Rate: 1 << 40}})
		cg, dg, _ := n.grant()
		d := n.peer("10.2.0.2:1", dg)
		c := n.peer("10.2.0.1:1", cg)
		stalled, served := n.allocated(c)
		_, _ = stalled.Write(c.request(stun.MethodChannelBind, xorPeer(cg.Peer), raw(stun.AttrChannelNumber, 0x40, 0, 0, 0)).Raw)
		if m := message(t, stalled); m.Type.Class != stun.ClassSuccessResponse {
			t.Fatalf("ChannelBind answered %v", m)
		}
		d.allocate()
		if code := d.bind(0x4000, dg.Peer); code != 0 {
			t.Fatalf("ChannelBind answered %d", code)
		}
		for range 1000 {
			d.channelData(0x4000, make([]byte, 1000))
		}
		if s := n.s.Stats(); s.Dropped < 400 || s.Bytes > 2*writeBuffer {
			t.Errorf("%+v", s)
		}
		start := time.Now()
		served.Wait()
		if took := time.Since(start); took > writeWait {
			t.Errorf("the stalled connection stayed %s", took)
		}
	})
}
