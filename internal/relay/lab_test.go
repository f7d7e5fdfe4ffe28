//go:build lab

package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

// run runs a program of coturn to its end, but not for long, and returns what it
// printed.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("%s: %v", program, err)
	}
	return string(out)
}

// echo is the foreign echo server for peers of a relay, on a port of loopback.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	address := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = probe.Close()
	ctx, cancel := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, "turnutils_peer", "-L", "127.0.0.1", "-p", strconv.Itoa(int(address.Port())))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = server.Wait()
	})
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(address))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	eventually(t, "the echo server answers", func() bool {
		_, _ = conn.Write([]byte("hello"))
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, _ := conn.Read(make([]byte, 100))
		return n > 0
	})
	return address
}

// lapse lets an allocation end when its user asks for another: the foreign
// client begins with one that it leaves behind without a word.
func lapse(s *Server, b []byte, src netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	var user stun.Username
	if m.Decode() != nil || m.Type.Method != stun.MethodAllocate || user.GetFrom(m) != nil {
		return
	}
	if l := s.user(user.String()); l != nil {
		if a := l.allocation.Load(); a != nil && a.src != src {
			_ = a.Close()
		}
	}
}

// allocated runs the foreign client with new credentials until it has its
// allocation: as its dice fall it asks for an even port, which is refused, or
// for another allocation while it has one.
func (h *host) allocated(t *testing.T, use func(signal.Grant) string) string {
	t.Helper()
	var out string
	for range 50 {
		c, _, end, err := h.s.Grant(client, device, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		out = use(c)
		end()
		if !strings.Contains(out, "error 508") && !strings.Contains(out, "error 486") {
			return out
		}
	}
	t.Fatalf("no allocation in 50 attempts:\n%s", out)
	return ""
}

func (h *host) uclient(t *testing.T, g signal.Grant, peer netip.AddrPort, more ...string) string {
	return run(t, "turnutils_uclient", append(more, "-v", "-c", "-X", "-n", "20", "-l", "200", "-u", g.Username, "-w", g.Password,
		"-e", peer.Addr().String(), "-r", strconv.Itoa(int(peer.Port())), "-p", strconv.Itoa(int(h.udp.Port())), "127.0.0.1")...)
}

var received = regexp.MustCompile(`tot_recv_msgs=(\d+)`)

// TestForeignClientMayNot: a foreign client with good credentials asks for
// peers on this machine, and reaches none.
func TestForeignClientMayNot(t *testing.T) {
	var bytes atomic.Int64
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4zero})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		b := make([]byte, 2048)
		for {
			n, _, err := listener.ReadFromUDP(b)
			if err != nil {
				return
			}
			bytes.Add(int64(n))
		}
	}()
	port := uint16(listener.LocalAddr().(*net.UDPAddr).Port)
	h := newHost(t, "127.0.0.1", Config{}, lapse)
	for _, more := range [][]string{nil, {"-s"}, {"-G"}, {"-I", "-s"}} {
		for _, peer := range []netip.AddrPort{echo(t), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)} {
			out := h.allocated(t, func(c signal.Grant) string { return h.uclient(t, c, peer, more...) })
			if !strings.Contains(out, "403") && !strings.Contains(strings.Join(more, ""), "I") {
				t.Errorf("%v to %s: no 403 in\n%s", more, peer, out)
			}
			for _, m := range received.FindAllStringSubmatch(out, -1) {
				if m[1] != "0" {
					t.Errorf("%v to %s: %s", more, peer, m[0])
				}
			}
		}
	}
	if got := bytes.Load(); got != 0 {
		t.Errorf("%d bytes arrived at a peer on this machine", got)
	}
	if s := h.s.Stats(); s.Packets != 0 {
		t.Errorf("%+v", s)
	}
}

func TestForeignMappedAddress(t *testing.T) {
	h := newHost(t, "127.0.0.1", Config{}, lapse)
	out := run(t, "turnutils_stunclient", "-p", fmt.Sprint(h.udp.Port()), "-L", "127.0.0.1", "127.0.0.1")
	if !regexp.MustCompile(`UDP reflexive addr: 127\.0\.0\.1:\d+`).MatchString(out) {
		t.Errorf("no mapped address in\n%s", out)
	}
}
