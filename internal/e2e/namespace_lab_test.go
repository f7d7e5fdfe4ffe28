//go:build lab

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A lan is three network namespaces: a device and a neighbour on one segment,
// and a router to a third, remote one.
//
//	neighbour 10.77.0.2 --+
//	device    10.77.0.1 --+-- router 10.77.0.254 | 10.78.0.254 -- remote 10.78.0.2
type lan struct{ device, neighbour, router, remote string }

func newLAN(t *testing.T) *lan {
	t.Helper()
	prefix := fmt.Sprintf("lk%d", os.Getpid())
	l := &lan{prefix + "d", prefix + "n", prefix + "g", prefix + "r"}
	ip := func(args string) { run(t, "ip", strings.Fields(args)...) }
	for _, ns := range []string{l.device, l.neighbour, l.router, l.remote} {
		ip("netns add " + ns)
		t.Cleanup(func() { _, _ = output(context.Background(), "ip", "netns", "del", ns) })
		ip("-n " + ns + " link set lo up")
	}
	ip("-n " + l.router + " link add br0 type bridge")
	ip("-n " + l.router + " link set br0 up")
	for _, end := range []struct{ ns, addr string }{{l.device, "10.77.0.1/24"}, {l.neighbour, "10.77.0.2/24"}} {
		ip("-n " + end.ns + " link add eth0 type veth peer name p-" + end.ns + " netns " + l.router)
		ip("-n " + l.router + " link set p-" + end.ns + " master br0 up")
		ip("-n " + end.ns + " addr add " + end.addr + " dev eth0")
		ip("-n " + end.ns + " link set eth0 up")
		ip("-n " + end.ns + " route add default via 10.77.0.254")
	}
	ip("-n " + l.router + " addr add 10.77.0.254/24 dev br0")
	ip("-n " + l.remote + " link add eth0 type veth peer name wan netns " + l.router)
	ip("-n " + l.router + " addr add 10.78.0.254/24 dev wan")
	ip("-n " + l.router + " link set wan up")
	ip("-n " + l.remote + " addr add 10.78.0.2/24 dev eth0")
	ip("-n " + l.remote + " link set eth0 up")
	ip("-n " + l.remote + " route add default via 10.78.0.254")
	run(t, "ip", "netns", "exec", l.router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	return l
}

// in runs a program in a namespace.
func in(t *testing.T, ns string, args ...string) (string, error) {
	t.Helper()
	return output(deadline(t), "ip", append([]string{"netns", "exec", ns}, args...)...)
}

// TestLocalNetwork pairs across a real segment, and is refused from behind a
// router, masqueraded or not.
func TestLocalNetwork(t *testing.T) {
	l := newLAN(t)
	bin := t.TempDir()
	run(t, "go", "build", "-o", bin+"/", "github.com/latchkey-dev/latchkey/cmd/latchkeyd", "github.com/latchkey-dev/latchkey/cmd/latchkey")
	dir := filepath.Join(t.TempDir(), "d")
	run(t, bin+"/latchkeyd", "init", "--dir", dir, "--name", "Shed", "--listen", ":5690", "--pairing", "local-initial", "--service", "web=tcp://127.0.0.1:80")
	daemon := exec.Command("ip", "netns", "exec", l.device, bin+"/latchkeyd", "run", "--dir", dir)
	stdout, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said lockedBuffer
	daemon.Stderr = &said
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("daemon said %q: %v\n%s", line, err, said.String())
	}
	url, err := in(t, l.device, bin+"/latchkeyd", "pairing-url", "--dir", dir)
	if err != nil || !strings.Contains(url, "a=10.77.0.1:5690") {
		t.Fatalf("pairing URL %q: %v", url, err)
	}
	url = strings.TrimSpace(url)
	far := filepath.Join(t.TempDir(), "far")
	refused := func(what string) {
		out, err := in(t, l.remote, bin+"/latchkey", "pair", "--dir", far, url, "--as", "shed")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "own network") {
			t.Errorf("pairing from %s: %v\n%s", what, err, out)
		}
	}
	refused("behind a router")
	run(t, "ip", "netns", "exec", l.router, "nft", "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post ip saddr 10.78.0.0/24 masquerade")
	refused("behind a router that masquerades")

	near := filepath.Join(t.TempDir(), "near")
	if out, err := in(t, l.neighbour, bin+"/latchkey", "pair", "--dir", near, url, "--as", "shed"); err != nil {
		t.Fatalf("pairing on the segment: %v\n%s", err, out)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		out, _ := in(t, l.neighbour, bin+"/latchkey", "discover", "--dir", near)
		if strings.Contains(out, "Shed") && strings.Contains(out, "10.77.0.1:5690") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("discovery: %s", out)
		}
	}
	// A client whose known address is stale finds the device by discovery.
	stale(t, near)
	if out, err := in(t, l.neighbour, bin+"/latchkey", "services", "--dir", near, "shed"); err != nil || !strings.Contains(out, "web") {
		t.Errorf("services by discovery: %v\n%s", err, out)
	}
	// It has learnt the address, and being paired, it may come from anywhere.
	run(t, "cp", "-r", near, far+"2")
	if out, err := in(t, l.remote, bin+"/latchkey", "services", "--dir", far+"2", "shed"); err != nil || !strings.Contains(out, "web") {
		t.Errorf("services from afar: %v\n%s", err, out)
	}
}

// stale replaces the known address by one where nobody answers.
func stale(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "devices.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), "10.77.0.1:5690", "10.77.0.77:5690")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil || changed == string(text) {
		t.Fatalf("%v: %s", err, text)
	}
}
