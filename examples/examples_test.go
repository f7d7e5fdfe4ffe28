package examples

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// build compiles one example and returns the program.
func build(t *testing.T, name string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), name+".exe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return bin
}

// An example is a program that runs until the test ends.
type example struct {
	in    io.WriteCloser
	lines chan string // of stdout
	err   *bytes.Buffer
}

func start(t *testing.T, bin string, args ...string) *example {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Dir = t.TempDir()
	e := &example{lines: make(chan string, 100), err: new(bytes.Buffer)}
	cmd.Stderr = e.err
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if e.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the program
		defer close(e.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			e.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("%s: %s", filepath.Base(bin), e.err)
	})
	return e
}

// line returns the next line on stdout that begins with prefix.
func (e *example) line(t *testing.T, prefix string) string {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-e.lines:
			if !ok {
				t.Fatalf("the program ended without saying %s", prefix)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-late:
			t.Fatalf("the program never said %s", prefix)
		}
	}
}

// serve starts an example that is a device, and reads its pairing URL.
func serve(t *testing.T, name string, args ...string) (*example, *latchkey.PairingURL) {
	t.Helper()
	e := start(t, build(t, name), append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	u, err := latchkey.ParsePairingURL(e.line(t, "latchkey://"))
	if err != nil {
		t.Fatal(err)
	}
	return e, u
}

// pair pairs a new client in dir, which then knows the device as home.
func pair(t *testing.T, dir string, u *latchkey.PairingURL) *client.Client {
	t.Helper()
	c := &client.Client{Dir: dir, NoDiscovery: true}
	paired, err := c.Pair(t.Context(), u, client.PairOptions{Alias: "home", User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if paired.Role != "admin" {
		t.Errorf("paired %+v", paired)
	}
	return c
}

func dial(t *testing.T, c *client.Client) *client.Conn {
	t.Helper()
	conn, err := c.Dial(t.Context(), "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestDeviceAndClient(t *testing.T) {
	_, u := serve(t, "device")
	dir := t.TempDir()
	pair(t, filepath.Join(dir, "client-state"), u)
	cmd := exec.CommandContext(t.Context(), build(t, "client"))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "21.5 for alice\n" {
		t.Errorf("client: %q, %v", out, err)
	}
}

func TestTunnel(t *testing.T) {
	u := echoDevice(t)
	bin, dir := build(t, "tunnel"), filepath.Join(t.TempDir(), "client-state")
	out, err := exec.CommandContext(t.Context(), bin, "-dir", dir, "-pair", u, "-as", "home").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "paired with home as ") {
		t.Fatalf("pair: %s, %v", out, err)
	}
	e := start(t, bin, "-dir", dir, "home", "echo")
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.line(t, "echo on "), "echo on "))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "there and back"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "there and back" {
		t.Errorf("through the tunnel came %q, %v", got, err)
	}
}

// echoDevice serves a device with an echo behind it until the test ends, and
// returns its pairing URL.
func echoDevice(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	ready, ended := make(chan device.Info, 1), make(chan error, 1)
	d := &device.Device{
		Dir: t.TempDir(), Addr: "127.0.0.1:0", Pairing: pairing.LocalInitial, NoDiscovery: true,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + l.Addr().String()}},
		Ready:    func(i device.Info) { ready <- i },
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- d.ListenAndServe(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	})
	select {
	case i := <-ready:
		return i.PairingURL.Reveal()
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return ""
}

func TestThermostat(t *testing.T) {
	_, u := serve(t, "thermostat", "-every", "10ms")
	conn := dial(t, pair(t, t.TempDir(), u))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	put := func(target string) error {
		_, err := conn.Do(ctx, &client.Request{Method: client.PUT, Path: "/target", Accept: client.NoFormat, Body: []byte(target)})
		return err
	}
	for _, bad := range []string{"NaN", "4.9", "30.1", "warm", ""} {
		if err := put(bad); err == nil {
			t.Errorf("target %q was accepted", bad)
		}
	}
	if err := put("25"); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	for r, err := range conn.Observe(ctx, "/temperature") {
		if err != nil {
			t.Fatal(err)
		}
		var now float64
		if _, err := fmt.Sscan(string(r.Body), &now); err != nil || now < last {
			t.Fatalf("%.1f came after %.1f (%v)", now, last, err)
		}
		if last = now; now >= 24.9 {
			return
		}
	}
	t.Error("the observation ended early")
}

func TestAuthorize(t *testing.T) {
	e, u := serve(t, "authorize")
	answers := func(lines string) {
		if _, err := io.WriteString(e.in, lines); err != nil {
			t.Error(err)
		}
	}
	answers("y\ny\n") // which modes are open, and the pairing itself
	conn := dial(t, pair(t, t.TempDir(), u))
	e.line(t, "stranger")
	put := func() error {
		_, err := conn.Do(t.Context(), &client.Request{Method: client.PUT, Path: "/door", Accept: client.NoFormat, Body: []byte("open")})
		return err
	}
	answers("n\n")
	if err := put(); latchkey.CodeOf(err) != latchkey.CodeForbidden {
		t.Errorf("refused by the owner: %v", err)
	}
	e.line(t, "alice wants coap:put on /door")
	answers("y\n")
	if err := put(); err != nil {
		t.Errorf("allowed by the owner: %v", err)
	}
	e.line(t, "alice wants coap:put on /door")
}

// TestExternal: the device runs this test's own program, which decides as the
// file named by DECISION says.
func TestExternal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	decision := filepath.Join(t.TempDir(), "decision")
	decide := func(text string) {
		if err := os.WriteFile(decision, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DECISION", decision)
	decide("yes")
	_, u := serve(t, "external", "-ask", self)
	conn := dial(t, pair(t, t.TempDir(), u))
	for _, test := range []struct {
		decision string
		want     latchkey.Code
	}{
		{"yes", 0}, {"no", latchkey.CodeForbidden}, {"alice", 0}, {"bob", latchkey.CodeForbidden}, {"late", latchkey.CodeForbidden}, {"yes", 0},
	} {
		decide(test.decision)
		_, err := conn.Do(t.Context(), &client.Request{Method: client.PUT, Path: "/door", Accept: client.NoFormat, Body: []byte("open")})
		if latchkey.CodeOf(err) != test.want {
			t.Errorf("%s: %v", test.decision, err)
		}
	}
}

// TestMain decides in place of tests when an example runs this program.
func TestMain(m *testing.M) {
	decision := os.Getenv("DECISION")
	if decision == "" {
		os.Exit(m.Run())
	}
	text, err := os.ReadFile(decision)
	question, bad := io.ReadAll(os.Stdin)
	switch who := string(text); {
	case err != nil || bad != nil:
		os.Exit(2)
	case who == "yes":
		os.Exit(0)
	case who == "late":
		time.Sleep(time.Minute) // until it is ended
		os.Exit(0)
	case bytes.Contains(question, []byte(`"user":"`+who+`"`)) && bytes.Contains(question, []byte(`"action":"coap:put","resource":"/door"`)):
		os.Exit(0)
	}
	os.Exit(1)
}

// TestLengths: the programs that the README calls short are.
func TestLengths(t *testing.T) {
	for name, most := range map[string]int{"device": 25, "client": 20, "thermostat": 120} {
		path := filepath.Join(name, "main.go")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := codeLines(text); n > most {
			t.Errorf("%s has %d lines of code, at most %d", path, n, most)
		}
	}
}

// codeLines counts the lines that hold more than blanks and comments.
func codeLines(text []byte) int {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok != token.SEMICOLON || lit != "\n" {
			lines[file.Line(pos)] = true
		}
	}
}
