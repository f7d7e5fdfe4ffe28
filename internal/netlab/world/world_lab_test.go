//go:build lab

package world

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// kinds is what each kind has to be, but for UDPBlocked.
var kinds = map[Kind]behaviour{
	None:              {"none", "none", true},
	FullCone:          {"endpoint-independent", "none", true},
	AddressRestricted: {"endpoint-independent", "address", true},
	PortRestricted:    {"endpoint-independent", "address and port", true},
	Symmetric:         {"endpoint-dependent", "address and port", false},
	CGNAT:             {"endpoint-independent", "address and port", false},
}

func baseAddrs(w *World) [2]netip.Addr { return [2]netip.Addr{w.Base.Addr(), w.Base.Second()} }

func TestKinds(t *testing.T) {
	for kind, want := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			w := New(t, Config{Sites: []SiteConfig{{Kind: kind}}})
			r := newReflector(t, w, baseAddrs(w))
			if got := r.probe(w.Sites[0].Hosts[0]); got != want {
				t.Errorf("behaves as %+v, want %+v", got, want)
			}
		})
	}
}

func TestNoHairpin(t *testing.T) {
	want := kinds[PortRestricted]
	want.Hairpin = false
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted, NoHairpin: true}}})
	r := newReflector(t, w, baseAddrs(w))
	if got := r.probe(w.Sites[0].Hosts[0]); got != want {
		t.Errorf("behaves as %+v, want %+v", got, want)
	}
}

// Two hosts of a site may send from one port, also to the same address, and two
// sites may have the same addresses inside.
func TestSamePortAndSameLAN(t *testing.T) {
	lan := netip.MustParsePrefix("192.168.1.0/24")
	w := New(t, Config{Sites: []SiteConfig{
		{Kind: FullCone, LAN: lan, Hosts: []string{"a", "b"}},
		{Kind: PortRestricted, LAN: lan, Hosts: []string{"c"}},
	}})
	r := newReflector(t, w, baseAddrs(w))
	seen := map[netip.AddrPort]string{}
	for _, s := range w.Sites {
		for _, h := range s.Hosts {
			c := listen(t, h.Node, netip.AddrPortFrom(h.Addr(), 5690))
			m, ok := r.mapped(c, 0)
			if !ok || m.Addr() != s.Public() || seen[m] != "" {
				t.Errorf("%s at %s is seen as %s, like %q", h.Name(), h.Addr(), m, seen[m])
			}
			seen[m] = h.Name()
			send(t, r.conn[0], h.Name(), m)
			if got, _, _ := receive(t, c, patience); got != h.Name() {
				t.Errorf("%s gets what is meant for %q", h.Name(), got)
			}
		}
	}
	if a, c := w.Sites[0].Hosts[0].Addr(), w.Sites[1].Hosts[0].Addr(); a != c {
		t.Errorf("%s and %s differ", a, c)
	}
}

func TestKindChanges(t *testing.T) {
	w := New(t, Config{Sites: []SiteConfig{{Kind: PortRestricted}}})
	r := newReflector(t, w, baseAddrs(w))
	s := w.Sites[0]
	for _, kind := range []Kind{Symmetric, None, FullCone, UDPBlocked, AddressRestricted} {
		s.SetKind(kind)
		if kind == UDPBlocked {
			continue
		}
		if got := r.probe(s.Hosts[0]); got != kinds[kind] {
			t.Errorf("%s behaves as %+v", kind, got)
		}
	}
}

func TestTimes(t *testing.T) {
	sites := []SiteConfig{{Kind: PortRestricted}, {Kind: Symmetric}}
	wired := []SiteConfig{{Kind: CGNAT, Wire: &Conditions{}}, {Kind: CGNAT, Wire: &Conditions{}}}
	for name, cfg := range map[string]Config{"plain": {Sites: sites}, "CGNAT, wires, v6": {Sites: wired, V6: true}} {
		var up, all time.Duration
		const worlds = 5
		for range worlds {
			start := time.Now()
			t.Run("world", func(t *testing.T) {
				New(t, cfg)
				up += time.Since(start)
			})
			all += time.Since(start)
		}
		t.Logf("%s: set up in %v, torn down in %v", name, up/worlds, (all-up)/worlds)
	}
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("lk%d-", os.Getpid())) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// What a killed test left goes away, with the programs that run in it; what
// belongs to a live one stays.
func TestSweep(t *testing.T) {
	dead := exec.Command("sh", "-c", "exit")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	w := New(t, Config{})
	left := fmt.Sprintf("lk%d-1-x", dead.Process.Pid)
	w.run(nil, "", "ip", "netns", "add", left)
	sleeper := exec.Command("ip", "netns", "exec", left, "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	for inside := false; !inside; {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", sleeper.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		inside = string(comm) == "sleep\n"
	}
	sweep()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = sleeper.Process.Kill()
		t.Error("the program in the dead world still runs")
	}
	if _, err := os.Stat(netnsDir + "/" + left); err == nil {
		t.Errorf("%s is left", left)
	}
	if got := strings.TrimSpace(w.Base.Run("sh", "-c", "echo alive")); got != "alive" {
		t.Errorf("the live world says %q", got)
	}
}
