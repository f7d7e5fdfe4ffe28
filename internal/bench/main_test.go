package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	o, chosen, err := parse([]string{"-only", "coap,tunnel", "-runs", "3", "-length", "2s", "-json", "-bin", "x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := (options{json: true, runs: 3, length: 2 * time.Second, bin: "x"}); o != want {
		t.Errorf("options %+v, want %+v", o, want)
	}
	if len(chosen) != 2 || chosen[0].name != "tunnel" || chosen[1].name != "coap" {
		t.Errorf("chose %v", chosen)
	}
	if o, chosen, err = parse([]string{"-quick"}, io.Discard); err != nil || o.runs != 1 || o.length != time.Second || len(chosen) != len(groups) {
		t.Errorf("-quick: %+v, %d groups, %v", o, len(chosen), err)
	}
	for _, args := range [][]string{{"-only", "tunnels"}, {"-only", ","}, {"-runs", "0"}, {"-length", "10ms"}, {"coap"}, {"-what"}} {
		if _, _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestRunList(t *testing.T) {
	var text strings.Builder
	if code := run([]string{"-list"}, &text, io.Discard); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, g := range groups {
		if !strings.Contains(text.String(), g.name) {
			t.Errorf("group %s is not listed", g.name)
		}
	}
	if code := run([]string{"-nothing"}, io.Discard, io.Discard); code != 2 {
		t.Errorf("exit code %d for a wrong flag", code)
	}
}
