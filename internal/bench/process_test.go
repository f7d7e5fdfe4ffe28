package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// child runs this test binary as a child that does what its test name says.
func child(t *testing.T, test string) *process {
	t.Helper()
	t.Setenv("BENCH_CHILD", "1")
	p, err := start(os.Args[0], "-test.run", "^"+test+"$", "-test.v")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop() })
	return p
}

func isChild() bool { return os.Getenv("BENCH_CHILD") != "" }

// TestChildTalks is a child: it says two lines and waits.
func TestChildTalks(*testing.T) {
	if isChild() {
		fmt.Println("first")
		fmt.Fprintln(os.Stderr, "second")
		time.Sleep(time.Minute)
	}
}

// TestChildFails is a child: it complains and ends.
func TestChildFails(*testing.T) {
	if isChild() {
		fmt.Fprintln(os.Stderr, "no such luck")
		os.Exit(3)
	}
}

func TestProcess(t *testing.T) {
	p := child(t, "TestChildTalks")
	for _, want := range []string{"second", "first"} { // kept or to come
		line, err := p.line(t.Context(), func(line string) bool { return line == want })
		if err != nil || line != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	u, err := p.usage()
	if err != nil || u.rss < 1<<20 || u.files < 3 || u.threads < 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
	began := time.Now()
	if err := p.stop(); err == nil || time.Since(began) > stopTime {
		t.Errorf("stopped by a signal: %v after %v", err, time.Since(began))
	}
	if again := p.stop(); again == nil {
		t.Error("the second stop tells nothing")
	}
	if _, err := p.usage(); err == nil {
		t.Error("an ended process has a usage")
	}
}

func TestProcessFails(t *testing.T) {
	p := child(t, "TestChildFails")
	_, err := p.line(t.Context(), func(string) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
}

func TestProcessNotReady(t *testing.T) {
	p := child(t, "TestChildTalks")
	if _, err := p.line(t.Context(), func(line string) bool { return line == "second" }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.line(ctx, func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "second") {
		t.Errorf("error %v", err)
	}
}

func TestCPUOf(t *testing.T) {
	stat := "17 (a (b) c) S 1 17 17 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 6 0 100 1 1 1"
	if got, err := cpuOf([]byte(stat)); err != nil || got != 4 {
		t.Errorf("%v, %v, want 4 s", got, err)
	}
	for _, bad := range []string{"", "17 (x) S 1", "17 (x) S 1 2 3 4 5 6 7 8 9 10 x y 1 1"} {
		if _, err := cpuOf([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
