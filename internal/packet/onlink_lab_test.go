//go:build lab

package packet

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnLinkInNamespace asks about a network with routers of every kind: of
// the default route, of a route with several next hops, of another table, and
// of another family.
func TestOnLinkInNamespace(t *testing.T) {
	done := make(chan struct{})
	go func() { // its thread ends with it, and the namespace with the thread
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v (root is needed)", err)
			return
		}
		inNamespace(t)
	}()
	<-done
}

func inNamespace(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(`
		link set lo up
		link add lan type veth peer name far
		link set far up
		link set lan up
		addr add 192.168.77.1/24 dev lan
		addr add 2001:db8:77::1/64 dev lan nodad
		route add default via 192.168.77.254
		route add 10.0.0.0/8 nexthop via 192.168.77.253 nexthop via 192.168.77.252
		route add default via 192.168.77.251 table 100
		route add 172.16.0.0/12 via inet6 2001:db8:77::fe
		route add default via 2001:db8:77::ff
		`), "\n") {
		args := strings.Fields(line)
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
			return
		}
	}
	lan, err := net.InterfaceByName("lan")
	if err != nil {
		t.Error(err)
		return
	}
	for src, want := range map[string]bool{
		"192.168.77.9":    true,
		"2001:db8:77::9":  true,
		"192.168.77.1":    false, // ourselves
		"192.168.77.254":  false,
		"192.168.77.253":  false,
		"192.168.77.252":  false,
		"192.168.77.251":  false,
		"2001:db8:77::fe": false,
		"2001:db8:77::ff": false,
		"192.168.78.9":    false,
	} {
		ip := netip.MustParseAddr(src)
		m := Meta{Src: netip.AddrPortFrom(ip, 9), Dst: netip.MustParseAddr("192.168.77.1"), IfIndex: lan.Index, HopLimit: 255}
		if ip.Is6() {
			m.Dst = netip.MustParseAddr("2001:db8:77::1")
		}
		if got := OnLink(m); got != want {
			t.Errorf("OnLink from %s: %v", src, got)
		}
	}
}
