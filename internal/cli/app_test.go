package cli

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program builds a small tree with every way to end.
func program(a *App) *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "test"}
	fail := &cobra.Command{Use: "fail", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return fmt.Errorf("open door: %w", errors.New("latchkey: not allowed"))
	}}
	hint := &cobra.Command{Use: "hint", RunE: func(*cobra.Command, []string) error {
		return fmt.Errorf("outer: %w", WithNext(errors.New("shut"), "knock"))
	}}
	wrong := &cobra.Command{Use: "wrong", RunE: func(*cobra.Command, []string) error {
		return Usage("%s does not go with %s", "a", "b")
	}}
	level := &cobra.Command{Use: "level", RunE: func(*cobra.Command, []string) error {
		return a.PrintLine(a.Level.Level(), a.Level.Level().String())
	}}
	move := &cobra.Command{Use: "move FROM TO[:PORT]...", Args: cobra.MinimumNArgs(2), RunE: func(*cobra.Command, []string) error { return nil }}
	group := &cobra.Command{Use: "user", Short: "group"}
	group.AddCommand(&cobra.Command{Use: "list", RunE: func(*cobra.Command, []string) error {
		t := Table{Heading: []string{"name", "role"}}
		t.Add("alice", "admin")
		t.Add("bo", "guest")
		return a.Print([]string{"alice", "bo"}, t)
	}})
	a.JSONFlag(group.Commands()[0])
	root.AddCommand(fail, move, hint, wrong, a.JSONFlag(level), group, ManCommand())
	return root
}

func TestRun(t *testing.T) {
	tests := []struct {
		args string
		exit int
		out  string // exact, unless empty
		err  string // exact, unless empty
	}{
		{"fail", ExitFailed, "", "prog: open door: not allowed\nnext: ask\n"},
		{"hint", ExitFailed, "", "prog: outer: shut\nnext: knock\n"},
		{"wrong", ExitUsage, "", "prog: a does not go with b\nnext: prog wrong --help\n"},
		{"fail extra", ExitUsage, "", "prog: \"extra\" is one argument too many\nnext: prog fail --help\n"},
		{"move a", ExitUsage, "", "prog: TO is missing\nnext: prog move --help\n"},
		{"fail --nonsense", ExitUsage, "", "prog: unknown flag: --nonsense\nnext: prog fail --help\n"},
		{"user", ExitUsage, "", "prog: a command is missing: list\nnext: prog user --help\n"},
		{"user lisst", ExitUsage, "", "prog: unknown command \"user lisst\"\nnext: prog user list\n"},
		{"usr", ExitUsage, "", "prog: unknown command \"usr\"\nnext: prog user\n"},
		{"level --log-level loud", ExitUsage, "", "prog: --log-level: \"loud\" is not a log level: debug, info, warn or error\nnext: prog level --help\n"},
		{"level", ExitDone, "WARN\n", ""},
		{"level --log-level debug", ExitDone, "DEBUG\n", ""},
		{"level --json", ExitDone, "\"WARN\"\n", ""},
		{"user list", ExitDone, "alice\tadmin\nbo\tguest\n", ""},
		{"user list --json", ExitDone, "[\"alice\",\"bo\"]\n", ""},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			a := &App{Name: "prog", In: strings.NewReader(""), Out: &out, Err: &errs}
			a.Level.Set(slog.LevelWarn)
			a.Next = func(err error) string {
				if strings.Contains(err.Error(), "not allowed") {
					return "ask"
				}
				return ""
			}
			if exit := a.Run(t.Context(), program(a), strings.Fields(test.args)); exit != test.exit {
				t.Errorf("exit code %d, want %d (stderr %q)", exit, test.exit, errs.String())
			}
			if out.String() != test.out {
				t.Errorf("stdout %q, want %q", out.String(), test.out)
			}
			if errs.String() != test.err {
				t.Errorf("stderr %q, want %q", errs.String(), test.err)
			}
		})
	}
}

func TestMan(t *testing.T) {
	var out, errs bytes.Buffer
	a := &App{Name: "prog", Out: &out, Err: &errs}
	if exit := a.Run(t.Context(), program(a), []string{"man"}); exit != ExitDone {
		t.Fatalf("exit %d: %s", exit, errs.String())
	}
	if !strings.Contains(out.String(), `.TH "PROG" "1"`) {
		t.Errorf("not a man page: %q", out.String())
	}
}

func TestColumns(t *testing.T) {
	var out bytes.Buffer
	a := &App{Out: &out}
	table := Table{Heading: []string{"name", "role"}, Rows: [][]string{{"alice", "admin"}, {"bo", "guest"}}}
	if err := a.printColumns(table); err != nil {
		t.Fatal(err)
	}
	want := "NAME   ROLE\nalice  admin\nbo     guest\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
