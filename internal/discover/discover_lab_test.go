//go:build lab

package discover

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// labNetwork makes a network of its own with two machines, 192.0.2.1 with an
// avahi-daemon and 192.0.2.2, and runs the rest of the test in the first.
const labNetwork = `
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon /run/netns
ip netns add other
ip link add lan0 type veth peer name lan1 netns other
ip addr add 192.0.2.1/24 dev lan0
ip link set lan0 up
ip -n other addr add 192.0.2.2/24 dev lan1
ip -n other addr add 203.0.113.5/24 dev lan1
ip -n other link set lan1 up
ip route add default via 192.0.2.2
dbus-daemon --system --nofork --nopidfile &
while ! [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
avahi-daemon --no-rlimits --no-chroot --no-drop-root >&2 &
while ! avahi-browse -at >/dev/null 2>&1; do sleep 0.05; done
"$0" -test.v -test.run "^$1$"
`

// labEnv names, inside the network, the part of the test to run.
const labEnv = "LATCHKEY_TEST_LAB"

// inLab runs the test named inside in the lab's network.
func inLab(t *testing.T, inside string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-ec", labNetwork, os.Args[0], inside)
	cmd.Env = append(os.Environ(), labEnv+"="+inside)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+inside) {
		t.Fatalf("%s did not run:\n%s", inside, out)
	}
}

func TestAvahi(t *testing.T) { inLab(t, "TestAvahiInside") }

// TestAvahiInside shares the port with avahi-daemon.
func TestAvahiInside(t *testing.T) {
	if os.Getenv(labEnv) != "TestAvahiInside" {
		return
	}
	info := newInfo(t, "Küche 1")
	stop := labAnnounce(t, info)
	lines := avahiBrowse(t)

	// Avahi escapes as \DDD.
	const name = `K\195\188che\0321`
	resolved := waitFor(t, lines, "=;lan0;IPv4;"+name+";_latchkey._udp;local;")
	for _, part := range []string{hostName(info.Key)[:29], ";192.0.2.1;5690;", `"v=1"`, `"id=acme/lamp-7"`, `"k=` + info.Key.String() + `"`} {
		if !strings.Contains(resolved, part) {
			t.Errorf("avahi resolved %s, without %s", resolved, part)
		}
	}

	theirs := newInfo(t, "Taken")
	publish := exec.CommandContext(t.Context(), "avahi-publish", append([]string{"-s", "Taken", "_latchkey._udp", "6000"}, encodeTXT(theirs)...)...)
	if err := publish.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = publish.Process.Kill()
		_ = publish.Wait()
	}()
	waitFor(t, lines, "=;lan0;IPv4;Taken;")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	found := false
	for f, err := range Browse(ctx, Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Key == theirs.Key {
			found = slices.Contains(f.Addrs, netip.MustParseAddrPort("192.0.2.1:6000"))
			break
		}
	}
	if !found {
		t.Error("we did not find what avahi publishes")
	}

	// A name that is taken is left to who has it.
	rival := newInfo(t, "Taken")
	labAnnounce(t, rival)
	waitFor(t, lines, `=;lan0;IPv4;Taken\032`+rival.Key.Short()+";")

	stop()
	waitFor(t, lines, "-;lan0;IPv4;"+name+";") // far earlier than the records expire
}

func labAnnounce(t *testing.T, info Info) (stop func()) {
	t.Helper()
	a, err := NewAnnouncer(info, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// avahiBrowse returns what avahi-browse says from now on.
func avahiBrowse(t *testing.T) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "avahi-browse", "-rpk", "_latchkey._udp")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 256)
	go func() { // ends with the program
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range lines {
		}
		_ = cmd.Wait() // killed
	})
	return lines
}

func waitFor(t *testing.T, lines <-chan string, prefix string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	var seen []string
	for {
		select {
		case line, ok := <-lines:
			if strings.HasPrefix(line, prefix) {
				return line
			}
			if seen = append(seen, line); !ok {
				t.Fatalf("avahi-browse ended after\n%s", strings.Join(seen, "\n"))
			}
		case <-deadline:
			t.Fatalf("no line %q in\n%s", prefix, strings.Join(seen, "\n"))
		}
	}
}

func TestOffLinkSource(t *testing.T) { inLab(t, "TestOffLinkInside") }

// TestOffLinkInside asks from the other machine, with an address of the link and
// with one of another network.
func TestOffLinkInside(t *testing.T) {
	if os.Getenv(labEnv) != "TestOffLinkInside" {
		return
	}
	info := newInfo(t, "Lamp")
	labAnnounce(t, info)
	lines := avahiBrowse(t)
	waitFor(t, lines, "=;lan0;IPv4;Lamp;")
	for source, want := range map[string]string{"192.0.2.2": "answered", "203.0.113.5": "silent"} {
		cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", "other", os.Args[0], "-test.v", "-test.run", "^TestAskHelper$")
		cmd.Env = append(os.Environ(), labEnv+"=ask", "LATCHKEY_TEST_SOURCE="+source, "LATCHKEY_TEST_HOST="+hostName(info.Key))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "RESULT "+want) {
			t.Errorf("asked from %s, want %s: %v\n%s", source, want, err, out)
		}
	}
}

// TestAskHelper asks for a host's address from a given source and says whether
// somebody answered.
func TestAskHelper(t *testing.T) {
	if os.Getenv(labEnv) != "ask" {
		return
	}
	host := os.Getenv("LATCHKEY_TEST_HOST")
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(os.Getenv("LATCHKEY_TEST_SOURCE")), 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := pack(dnsmessage.Message{Questions: []dnsmessage.Question{question(host, dnsmessage.TypeA)}})
	result := "silent"
	for range 3 {
		if _, err := conn.WriteToUDPAddrPort(q, netip.AddrPortFrom(groups[0], port)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		buf := make([]byte, maxDatagram)
		if n, err := conn.Read(buf); err == nil && len(mustParse(t, buf[:n]).answers) > 0 {
			result = "answered"
			break
		}
	}
	fmt.Println("RESULT", result)
}
