//go:build lab

package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A shelf is a server that keeps what is put.
type shelf struct {
	mu     sync.Mutex
	bodies map[string][]byte
	last   *Request
	source *source
}

func (s *shelf) handle(ctx context.Context, r *Request) *Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	path := strings.Join(r.Path, "/")
	a := NewResponse(Content)
	switch {
	case path == "state":
		return s.source.handle(ctx, r)
	case path == "slow":
		time.Sleep(3 * time.Second)
		a.Body = []byte("slow\n")
	case r.Code == GET:
		a.Format, a.Body = OctetStream, s.bodies[path]
		if a.Body == nil {
			return NewResponse(NotFound)
		}
	case r.Code == DELETE:
		delete(s.bodies, path)
		return NewResponse(Deleted)
	case r.Code == FETCH:
		a.Body = append([]byte("fetched "), r.Body...)
	default:
		s.bodies[path] = r.Body
		return NewResponse(Changed)
	}
	return a
}

func (s *shelf) get(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[path]
}

// serve starts a shelf and returns it with a function that runs libcoap's
// client: the last argument is the path.
func serve(t *testing.T) (*shelf, func(args ...string) (stdout []byte, stderr string)) {
	t.Helper()
	s := &shelf{bodies: map[string][]byte{}, source: newSource()}
	addr := listenUDP(t, Config{Handler: s.handle})
	return s, func(args ...string) ([]byte, string) {
		t.Helper()
		last := len(args) - 1
		args = append(append([]string{"-B", "20"}, args[:last]...), "coap://"+addr+"/"+args[last])
		var out, errs bytes.Buffer
		c := exec.CommandContext(t.Context(), "coap-client-notls", args...)
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Run(); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatal(err)
			}
		}
		return out.Bytes(), errs.String()
	}
}

func file(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLibcoapClientMovesBodies(t *testing.T) {
	s, run := serve(t)
	for _, size := range []string{"16", "32", "64", "128", "256", "512", "1024"} {
		for _, n := range []int{1, 15, 16, 17, 500, 1024, 1025, 5000} {
			for _, kind := range [][]string{{}, {"-N"}} {
				body := noise(n)
				what := fmt.Sprintf("%d bytes in blocks of %s %v", n, size, kind)
				_, errs := run(append(kind, "-b", size, "-m", "put", "-f", file(t, body), "put")...)
				if got := s.get("put"); !bytes.Equal(got, body) {
					t.Errorf("put of %s: %d bytes arrived; %s", what, len(got), errs)
				}
				out := filepath.Join(t.TempDir(), "out")
				_, errs = run(append(kind, "-b", size, "-o", out, "put")...)
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, body) {
					t.Errorf("get of %s: %d bytes came; %v %s", what, len(got), err, errs)
				}
			}
		}
	}
}

func TestLibcoapClientLargeBody(t *testing.T) {
	s, run := serve(t)
	for _, c := range []struct {
		bytes int
		lost  string // numbers of the client's datagrams
	}{{1 << 20, "0%"}, {10_000, "1,4-5"}} {
		body := noise(c.bytes)
		run("-l", c.lost, "-m", "put", "-f", file(t, body), "put")
		if got := s.get("put"); !bytes.Equal(got, body) {
			t.Errorf("%d of %d bytes arrived", len(got), c.bytes)
		}
		out := filepath.Join(t.TempDir(), "out")
		run("-l", c.lost, "-o", out, "put")
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d of %d bytes came, %v", len(got), c.bytes, err)
		}
	}
	_, errs := run("-B", "3", "-m", "put", "-f", file(t, noise(1<<20+1)), "too-large")
	if !strings.Contains(errs, "4.13") || s.get("too-large") != nil {
		t.Errorf("more than 1 MiB: %s", errs)
	}
}

func TestLibcoapClientMethods(t *testing.T) {
	s, run := serve(t)
	for _, method := range []string{"post", "put", "patch", "ipatch"} {
		run("-m", method, "-e", method, "-t", "50", "a")
		if string(s.get("a")) != method || s.last.Format != JSON {
			t.Errorf("%s: %+v", method, s.last)
		}
	}
	for _, n := range []int{5, 3000} {
		if out, errs := run("-m", "fetch", "-f", file(t, bytes.Repeat([]byte("x"), n)), "a"); len(out) < n+8 || !bytes.HasPrefix(out, []byte("fetched xxx")) {
			t.Errorf("fetch with %d bytes: %d came, %s", n, len(out), errs)
		}
	}
	run("-m", "delete", "a")
	if _, errs := run("a"); s.get("a") != nil || !strings.Contains(errs, "4.04") {
		t.Errorf("after delete: %s", errs)
	}
	if out, errs := run("slow"); strings.TrimSpace(string(out)) != "slow" {
		t.Errorf("separate answer: %q %s", out, errs)
	}
	run("-m", "put", "-e", "x", "-T", "cafe", "b%20c/d?one=1&two")
	if got := strings.Join(s.last.Path, "|") + "?" + strings.Join(s.last.Query, "&"); got != "b c|d?one=1&two" {
		t.Errorf("path and query %q", got)
	}
}

func TestLibcoapClientOddOptions(t *testing.T) {
	s, run := serve(t)
	s.bodies["a"] = []byte("body\n")
	for _, c := range []struct {
		option string
		want   string
	}{
		{"65000,0x01", "body"},
		{"10,x", "body"},
		{"258,0x00", "body"},
		{"4,0x0102", "body"},
		{"9,0x00", "4.02"},
		{"65001,x", "4.02"},
		{"1,0x01", "4.02"},
		{"5,", "4.02"},
		{"17,0x00000001", "4.02"},
		{"35,coap://x", "5.05"},
		{"27,0x07", "4.00"},
		{"23,0x07", "4.00"},
		{"23,0xfffff6", "4.00"},
	} {
		out, errs := run("-O", c.option, "a")
		if !strings.Contains(string(out)+errs, c.want) {
			t.Errorf("option %s: %s%s, want %s", c.option, out, errs, c.want)
		}
	}
}

func TestLibcoapClientObserves(t *testing.T) {
	for _, size := range []int{10, 3000} {
		s, run := serve(t)
		state := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i), '\n'}, size/2) }
		s.source.set(state(0))
		var group sync.WaitGroup
		group.Go(func() {
			o := <-s.source.came
			for i := range 4 {
				time.Sleep(500 * time.Millisecond)
				s.source.set(state(i + 1))
			}
			select {
			case <-o.Done():
			case <-time.After(20 * time.Second):
				t.Errorf("%d bytes: not deregistered", size)
			}
		})
		out, errs := run("-s", "4", "state")
		for i := range 5 {
			if n := bytes.Count(out, []byte{byte('a' + i), '\n'}); n != size/2 {
				t.Errorf("state %d of %d bytes came %d times; %s", i, size, n, errs)
			}
		}
		group.Wait()
	}
}

// TestLibcoapClientPings has the client keep an idle session alive.
func TestLibcoapClientPings(t *testing.T) {
	_, run := serve(t)
	if out, _ := run("-v", "7", "-s", "3", "-K", "1", "state"); !bytes.Contains(out, []byte("t:RST c:0.00")) || bytes.Contains(out, []byte("retransmission #1")) {
		t.Errorf("%s", out)
	}
}

// dialServer starts libcoap's server and returns an endpoint for it.
func dialServer(t *testing.T, cfg Config, args ...string) *UDP {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := socket.LocalAddr().String()
	_, port, _ := net.SplitHostPort(addr)
	socket.Close()
	c := exec.Command("coap-server-notls", append([]string{"-A", "127.0.0.1", "-p", port}, args...)...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	cfg.Log = quiet
	u, err := DialUDP(t.Context(), addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	for deadline := time.Now().Add(10 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := u.Ping(ctx)
		cancel()
		if err == nil {
			return u
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLibcoapServer(t *testing.T) {
	for _, size := range []int{16, 64, 256, 1024} {
		u := dialServer(t, Config{BlockSize: size}, "-d", "10")
		do := func(r *Request) *Response {
			t.Helper()
			a, err := u.Do(t.Context(), r)
			if err != nil {
				t.Fatalf("blocks of %d: %v of %v: %v", size, r.Code, r.Path, err)
			}
			return a
		}
		if a := do(NewRequest(GET, ".well-known", "core")); a.Code != Content || a.Format != LinkFormat || !bytes.Contains(a.Body, []byte("</time>")) {
			t.Errorf("blocks of %d: core is %v %d %q", size, a.Code, a.Format, a.Body)
		}
		for _, n := range []int{1, 16, 17, 1024, 1025, 5000} {
			r := NewRequest(PUT, "example_data")
			r.Body = noise(n)
			if a := do(r); a.Code.Class() != 2 {
				t.Fatalf("blocks of %d: put of %d bytes: %v", size, n, a.Code)
			}
			if a := do(NewRequest(GET, "example_data")); a.Code != Content || !bytes.Equal(a.Body, r.Body) {
				t.Errorf("blocks of %d: get of %d bytes: %v with %d", size, n, a.Code, len(a.Body))
			}
		}
		made := NewRequest(PUT, "made")
		made.Body = []byte("x")
		if a := do(made); a.Code != Created {
			t.Errorf("made: %v", a.Code)
		}
		if a := do(NewRequest(DELETE, "made")); a.Code != Deleted {
			t.Errorf("deleted: %v", a.Code)
		}
		if a := do(NewRequest(GET, "nothing")); a.Code != NotFound {
			t.Errorf("nothing: %v", a.Code)
		}
	}
}

// TestLibcoapServerLoss fetches in many small blocks from a server that loses
// some of its datagrams.
func TestLibcoapServerLoss(t *testing.T) {
	core := func(args ...string) []byte {
		u := dialServer(t, Config{BlockSize: 16, AckTimeout: 100 * time.Millisecond}, args...)
		a, err := u.Do(t.Context(), NewRequest(GET, ".well-known", "core"))
		if err != nil || a.Code != Content {
			t.Fatalf("%v %v", a, err)
		}
		return a.Body
	}
	want := core()
	for range 5 {
		if got := core("-l", "10%"); !bytes.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLibcoapServerSeparateAnswer(t *testing.T) {
	u := dialServer(t, Config{})
	r := NewRequest(GET, "async")
	r.Query = []string{"3"}
	begun := time.Now()
	if a, err := u.Do(t.Context(), r); err != nil || a.Code != Content || time.Since(begun) < 2*time.Second {
		t.Errorf("%v %v after %v", a, err, time.Since(begun))
	}
}

func TestLibcoapServerObserve(t *testing.T) {
	for _, args := range [][]string{{}, {"-N"}, {"-l", "10%"}} {
		u := dialServer(t, Config{}, args...)
		ctx, cancel := context.WithCancel(t.Context())
		var states []string
		err := u.Observe(ctx, NewRequest(GET, "time"), func(r *Response) {
			states = append(states, string(r.Body))
			if len(states) == 5 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) || len(states) < 5 || states[1] == states[4] {
			t.Errorf("%v: %v after %q", args, err, states)
		}
		if err := u.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := u.Observe(t.Context(), NewRequest(GET, "nothing"), func(*Response) {}); err != nil {
			t.Errorf("%v: nothing there: %v", args, err)
		}
	}
}
