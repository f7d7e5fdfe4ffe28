//go:build lab

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
)

// freePort returns a port that was free a moment ago, for programs that cannot
// choose one themselves.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start runs a server until the test ends, and waits until it accepts on port.
func start(t *testing.T, port, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not accept: %v\n%s", name, err, out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// forwarded is a device with one service and a running forward to it.
func forwarded(t *testing.T, port string) (local string) {
	t.Helper()
	_, c, _ := owned(t, &device.Device{Services: []device.Service{{ID: "it", Target: "tcp://127.0.0.1:" + port}}})
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- c.Forward(ctx, "home", []client.Forward{{Service: "it", Local: "127.0.0.1:0"}}, client.ForwardOptions{
			Event: func(e client.ForwardEvent) {
				if e.Kind == "listening" {
					listening <- e.Addr
				}
			},
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Forward: %v", err)
		}
	})
	select {
	case addr := <-listening:
		_, local, _ = net.SplitHostPort(addr)
	case err := <-done:
		t.Fatal(err)
	}
	return local
}

// sshServer starts sshd for the present user and returns its port and the
// options that a client needs.
func sshServer(t *testing.T) (port string, options []string) {
	t.Helper()
	dir := t.TempDir()
	host, key := filepath.Join(dir, "host"), filepath.Join(dir, "key")
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host)
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	port = freePort(t)
	config := filepath.Join(dir, "sshd_config")
	text := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s.pub\nStrictModes no\nUsePAM no\n"+
		"PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nSubsystem sftp internal-sftp\n", port, host, key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd's own, for privilege separation
		t.Fatal(err)
	}
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	start(t, port, sshd, "-D", "-e", "-f", config)
	return port, []string{
		"-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
		"-o", "LogLevel=ERROR", "-F", "none", "-o", "IdentitiesOnly=yes",
	}
}

func TestSSHAndSCP(t *testing.T) {
	port, options := sshServer(t)
	local := forwarded(t, port)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, "ssh", append(options, "-p", local, me.Username+"@127.0.0.1", "echo through the tunnel")...); got != "through the tunnel\n" {
		t.Errorf("ssh: %q", got)
	}
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data)
	if err := os.WriteFile(from, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "scp", append(options, "-P", local, from, me.Username+"@127.0.0.1:"+to)...)
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, data) {
		t.Errorf("scp: %d bytes of %d: %v", len(got), len(data), err)
	}
}

// TestSSHProxyCommand uses the latchkey program itself as ssh's transport.
func TestSSHProxyCommand(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "latchkey")
	run(t, "go", "build", "-o", bin, "github.com/latchkey-dev/latchkey/cmd/latchkey")
	port, options := sshServer(t)
	_, c, conn := owned(t, &device.Device{Services: []device.Service{{ID: "ssh", Target: "tcp://127.0.0.1:" + port}}})
	conn.Close()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	proxy := fmt.Sprintf("ProxyCommand=%s tunnel --dir %s home ssh:-", bin, c.Dir)
	if got := run(t, "ssh", append(options, "-o", proxy, me.Username+"@x", "echo through stdio")...); !strings.Contains(got, "through stdio") {
		t.Errorf("ssh: %q", got)
	}
}

// Under ssh the reason of a refusal reaches the terminal before ssh ends.
func TestSSHProxyCommandSaysWhy(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "latchkey")
	run(t, "go", "build", "-o", bin, "github.com/latchkey-dev/latchkey/cmd/latchkey")
	_, c, conn := owned(t, &device.Device{Services: []device.Service{{ID: "dead", Target: "tcp://127.0.0.1:" + freePort(t)}}})
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	proxy := fmt.Sprintf("ProxyCommand=%s tunnel --dir %s home dead:-", bin, c.Dir)
	out, err := exec.Command("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", proxy, "nobody@x", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "target refused the connection") || !strings.Contains(string(out), "next: ") {
		t.Errorf("ssh ended with %v and said\n%s", err, out)
	}
}

func TestCurl(t *testing.T) {
	body := make([]byte, 5<<20)
	_, _ = rand.Read(body)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x", time.Unix(1, 0), bytes.NewReader(body))
	}))
	t.Cleanup(web.Close)
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	local := forwarded(t, port)
	out := filepath.Join(t.TempDir(), "out")
	url := "http://127.0.0.1:" + local + "/"
	run(t, "curl", "-sSf", "-r", "0-999999", "-o", out, url)
	run(t, "curl", "-sSf", "-C", "-", "-o", out, url) // goes on where the first ended
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, body) {
		t.Errorf("curl: %d bytes of %d: %v", len(got), len(body), err)
	}
}

func TestIperf3(t *testing.T) {
	for _, direction := range [][]string{nil, {"-R"}} {
		port := freePort(t) // a server each: it does not listen while it cleans up after a test
		start(t, port, "iperf3", "-s", "-B", "127.0.0.1", "-p", port)
		local := forwarded(t, port)
		out := run(t, "iperf3", append([]string{"-c", "127.0.0.1", "-p", local, "-t", "2", "-J"}, direction...)...)
		var report struct {
			End struct {
				Received struct {
					Bytes float64 `json:"bytes"`
				} `json:"sum_received"`
			}
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil || report.End.Received.Bytes < 1<<20 {
			t.Errorf("iperf3 %v: %v\n%s", direction, err, out)
		}
	}
}

func TestMQTT(t *testing.T) {
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(config, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if me, err := user.Current(); err == nil && me.Uid == "0" { // it drops root, and must still read the file
		run(t, "chmod", "-R", "a+rX", filepath.Dir(filepath.Dir(config)))
	}
	broker, err := exec.LookPath("mosquitto")
	if err != nil {
		broker = "/usr/sbin/mosquitto"
	}
	start(t, port, broker, "-c", config)
	local := forwarded(t, port)
	// A session that the broker keeps: it is there before the first message.
	sub := []string{"-h", "127.0.0.1", "-p", local, "-q", "2", "-t", "t", "-i", "lab", "-c"}
	run(t, "mosquitto_sub", append(sub, "-E")...)
	for i := range 20 {
		run(t, "mosquitto_pub", "-h", "127.0.0.1", "-p", local, "-q", "2", "-t", "t", "-m", fmt.Sprintf("message-%02d", i))
	}
	out := run(t, "mosquitto_sub", append(sub, "-C", "20", "-W", "30")...)
	for i := range 20 {
		if want := fmt.Sprintf("message-%02d", i); strings.Count(out, want) != 1 {
			t.Errorf("%s arrived %d times", want, strings.Count(out, want))
		}
	}
}
