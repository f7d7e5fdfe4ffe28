//go:build lab

package e2e

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/netlab/world"
)

// newLAN makes a device and a neighbour on one segment, whose router leads to a
// remote machine on the internet.
func newLAN(t *testing.T) (device, neighbour, remote *world.Host, router *world.Node) {
	t.Helper()
	w := world.New(t, world.Config{Sites: []world.SiteConfig{{Kind: world.None, Hosts: []string{"device", "neighbour"}}}})
	home := w.Sites[0]
	return home.Hosts[0], home.Hosts[1], w.Base, home.Router
}

// in runs a program on a host.
func in(t *testing.T, h *world.Host, args ...string) (string, error) {
	t.Helper()
	cmd := h.Command(deadline(t), args[0], args[1:]...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLocalNetwork pairs across a real segment, and is refused from behind a
// router, masqueraded or not.
func TestLocalNetwork(t *testing.T) {
	device, neighbour, remote, router := newLAN(t)
	addr := netip.AddrPortFrom(device.Addr(), 5690).String()
	bin := t.TempDir()
	run(t, "go", "build", "-o", bin+"/", "github.com/latchkey-dev/latchkey/cmd/latchkeyd", "github.com/latchkey-dev/latchkey/cmd/latchkey")
	dir := filepath.Join(t.TempDir(), "d")
	run(t, bin+"/latchkeyd", "init", "--dir", dir, "--name", "Shed", "--listen", ":5690", "--pairing", "local-initial", "--service", "web=tcp://127.0.0.1:80")
	daemon := device.Command(context.Background(), bin+"/latchkeyd", "run", "--dir", dir)
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
	url, err := in(t, device, bin+"/latchkeyd", "pairing-url", "--dir", dir)
	if err != nil || !strings.Contains(url, "a="+addr) {
		t.Fatalf("pairing URL %q: %v", url, err)
	}
	url = strings.TrimSpace(url)
	far := filepath.Join(t.TempDir(), "far")
	refused := func(what string) {
		out, err := in(t, remote, bin+"/latchkey", "pair", "--dir", far, url, "--as", "shed")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "not open for pairing from here") || !strings.Contains(out, "own network") {
			t.Errorf("pairing from %s: %v\n%s", what, err, out)
		}
	}
	refused("behind a router")
	router.Run("nft", "add table ip behind; add chain ip behind post { type nat hook postrouting priority 100; }; add rule ip behind post oifname lan masquerade")
	refused("behind a router that masquerades")

	near := filepath.Join(t.TempDir(), "near")
	if out, err := in(t, neighbour, bin+"/latchkey", "pair", "--dir", near, url, "--as", "shed"); err != nil {
		t.Fatalf("pairing on the segment: %v\n%s", err, out)
	}
	for end := time.Now().Add(30 * time.Second); ; {
		out, _ := in(t, neighbour, bin+"/latchkey", "discover", "--dir", near)
		if strings.Contains(out, "Shed") && strings.Contains(out, addr) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("discovery: %s", out)
		}
	}
	// A client whose known address is stale finds the device by discovery.
	stale(t, near, addr)
	if out, err := in(t, neighbour, bin+"/latchkey", "services", "--dir", near, "shed"); err != nil || !strings.Contains(out, "web") {
		t.Errorf("services by discovery: %v\n%s", err, out)
	}
	// It has learnt the address, and being paired, it may come from anywhere.
	run(t, "cp", "-r", near, far+"2")
	if out, err := in(t, remote, bin+"/latchkey", "services", "--dir", far+"2", "shed"); err != nil || !strings.Contains(out, "web") {
		t.Errorf("services from afar: %v\n%s", err, out)
	}
}

// stale replaces the known address by one where nobody answers.
func stale(t *testing.T, dir, addr string) {
	t.Helper()
	path := filepath.Join(dir, "devices.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), addr, "192.0.2.250:5690")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil || changed == string(text) {
		t.Fatalf("%v: %s", err, text)
	}
}
