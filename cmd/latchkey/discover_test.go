package main

import (
	"bytes"
	"testing"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func TestPrintFound(t *testing.T) {
	one := client.Found{Name: "Kitchen\x1b[2J"}
	for _, test := range []struct {
		list     []client.Found
		json     bool
		out, err string
	}{
		{[]client.Found{}, false, "", "latchkey: no device answers on this network\n"},
		{[]client.Found{}, true, "[]\n", "latchkey: no device answers on this network\n"},
		{[]client.Found{one}, false, "\tKitchen[2J\t" + one.Key.String() + "\t\n", ""},
	} {
		var out, errs bytes.Buffer
		p := &program{App: &cli.App{Name: "latchkey", Out: &out, Err: &errs, JSON: test.json}}
		if err := p.printFound(test.list); err != nil {
			t.Error(err)
		}
		if out.String() != test.out || errs.String() != test.err {
			t.Errorf("printed %q and %q, want %q and %q", out.String(), errs.String(), test.out, test.err)
		}
	}
}
