package coap

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// listenUDP serves one peer at a time on a loopback socket.
func listenUDP(t testing.TB, cfg Config) (addr string) {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	endpoints := map[string]*Endpoint{}
	group.Go(func() {
		b := make([]byte, maxDatagram)
		for {
			n, peer, err := socket.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			e := endpoints[peer.String()]
			if e == nil {
				one := cfg
				one.Log = quiet
				one.Send = func(b []byte) error { _, err := socket.WriteToUDPAddrPort(b, peer); return err }
				e = New(one)
				endpoints[peer.String()] = e
			}
			e.Deliver(b[:n])
		}
	})
	t.Cleanup(func() {
		socket.Close()
		group.Wait()
		for _, e := range endpoints {
			e.Close()
			e.Wait()
		}
	})
	return socket.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	u, err := DialUDP(t.Context(), listenUDP(t, Config{Handler: mirror}), Config{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r := NewRequest(PUT, "a")
	r.Body = noise(100_000)
	a, err := u.Do(t.Context(), r)
	if err != nil || !bytes.Equal(a.Body, r.Body) {
		t.Error(err)
	}
	if err := errors.Join(u.Ping(t.Context()), u.Close(), u.Close()); err != nil {
		t.Error(err)
	}
	if _, err := u.Do(t.Context(), r); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestUDPNobodyListens(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := socket.LocalAddr().String()
	socket.Close()
	u, err := DialUDP(t.Context(), addr, Config{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for range 3 {
		if _, err := u.Do(t.Context(), NewRequest(GET, "a")); !errors.Is(err, latchkey.ErrTargetRefused) {
			t.Error(err)
		}
	}
	if err := u.Ping(t.Context()); !errors.Is(err, latchkey.ErrTargetRefused) {
		t.Error(err)
	}
}

func TestDialUDPFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:99999", "localhost:1"} {
		if u, err := DialUDP(ctx, addr, Config{}); err == nil {
			t.Errorf("%q: no error", addr)
			u.Close()
		}
	}
}
