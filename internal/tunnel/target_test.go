package tunnel

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

var goodTargets = []string{
	"tcp://127.0.0.1:22", "tcp://[::1]:65535", "tcp://localhost:1", "udp://8.8.8.8:53", "tcp://nas.lan:80",
	"tcp://[fe80::1%eth0]:80", "udp://my_host-1:5", "unix:///run/x.sock", "unix:///a b", "tcp://3com.example:25",
}

var badTargets = []string{
	"", "tcp", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536",
	"tcp://127.0.0.1:022", "tcp://127.0.0.1:+22", "tcp://127.0.0.1:ssh", "tcp://:22", "tcp://127.0.0.1:22/", "tcp://u@h:22",
	"tcp://::1:22", "tcp://[::1]", "tcp://[127.0.0.1]:22", "tcp://[0:0::1]:22", "tcp://127.1:22", "tcp://1.2.3.4.5:22", "tcp://0x7f:22", "tcp://1:22",
	"TCP://127.0.0.1:22", "tcp://HOST:22", "tcp://a..b:22", "tcp://-a:22", "tcp://a-:22", "tcp://h\n:22", "tcp://h ost:22",
	"http://127.0.0.1:22", "unix://run/x", "unix://", "unix:///", "unix:///x\x00", "unix:///" + strings.Repeat("x", 200),
	"tcp://" + strings.Repeat("a", 64) + ":22", "unixgram:///x", "tcp4://127.0.0.1:22",
}

func TestParseTarget(t *testing.T) {
	for _, s := range goodTargets {
		target, err := ParseTarget(s)
		if err != nil || target.String() != s || target.Network() != s[:strings.Index(s, ":")] {
			t.Errorf("%q: %q, %v", s, target, err)
		}
	}
	for _, s := range badTargets {
		if target, err := ParseTarget(s); err == nil || target != (Target{}) {
			t.Errorf("%q was accepted", s)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range append(goodTargets, badTargets...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if target, err := ParseTarget(s); err == nil && target.String() != s {
			t.Errorf("%q became %q", s, target)
		}
	})
}

func parse(t testing.TB, s string) Target {
	t.Helper()
	target, err := ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := parse(t, "tcp://"+l.Addr().String())
	c, err := target.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = l.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		target Target
		want   error
	}{
		{"refused", t.Context(), target, latchkey.ErrTargetRefused},
		{"timeout", expired, target, latchkey.ErrTargetTimeout},
		{"canceled", canceled, target, context.Canceled},
		{"no socket", t.Context(), parse(t, "unix://"+filepath.Join(t.TempDir(), "s")), latchkey.ErrTargetUnreachable},
	} {
		conn, err := c.target.Dial(c.ctx)
		if conn != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := (Target{}).Dial(t.Context()); err == nil {
		t.Error("the zero target was dialled")
	}
}
