//go:build lab

package world

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What somebody else's program for RFC 5780 says of each kind, with a server
// that has two addresses and two ports.
func TestForeignDiscovery(t *testing.T) {
	for kind, want := range map[Kind]struct{ mapping, filtering, hairpin string }{
		None:              {"No NAT!", "Endpoint Independent Filtering!", "Received a request"},
		FullCone:          {"Endpoint Independent Mapping!", "Endpoint Independent Filtering!", "Received a request"},
		AddressRestricted: {"Endpoint Independent Mapping!", "with Address Dependent Filtering!", "Received a request"},
		PortRestricted:    {"Endpoint Independent Mapping!", "Address and Port Dependent Filtering!", "Received a request"},
		Symmetric:         {"Address and Port Dependent Mapping!", "Address and Port Dependent Filtering!", "timeout"},
		CGNAT:             {"Endpoint Independent Mapping!", "Address and Port Dependent Filtering!", "timeout"},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel() // most of it is waiting for what does not come
			w := New(t, Config{Sites: []SiteConfig{{Kind: kind}}})
			serveDiscovery(t, w.Base)
			h := w.Sites[0].Hosts[0]
			for _, q := range []struct{ flag, port, want string }{{"-m", "40001", want.mapping}, {"-f", "40002", want.filtering}, {"-H", "40003", want.hairpin}} {
				// Its exit code says nothing: it is 0 after a timeout, too.
				out, _ := h.Command(t.Context(), "turnutils_natdiscovery", q.flag, "-L", h.Addr().String(), "-l", q.port, w.Base.Addr().String()).CombinedOutput()
				if !strings.Contains(string(out), q.want) {
					t.Errorf("%s: not %q:\n%s", q.flag, q.want, out)
				}
			}
		})
	}
}

// serveDiscovery runs the server until the test ends.
func serveDiscovery(t *testing.T, base *Host) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := base.Command(t.Context(), "turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls",
		"-L", base.Addr().String(), "-L", base.Second().String(), "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		log.Close()
	})
	for end := time.Now().Add(patience); strings.Count(base.Run("ss", "-Hlun"), ":347") < 4; {
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("the server does not listen:\n%s", said)
		}
	}
}
