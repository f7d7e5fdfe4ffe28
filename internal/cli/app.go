package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes.
const (
	ExitDone   = 0
	ExitFailed = 1 // refused or failed
	ExitUsage  = 2
)

// An App is one run of one program.
type App struct {
	Name     string
	In       io.Reader
	Out, Err io.Writer
	Level    slog.LevelVar // of Logger, set by --log-level
	JSON     bool          // set by --json

	// Next returns the step to take after an error that carries none of its
	// own (WithNext, or a method NextStep); "" when there is nothing to advise.
	Next func(error) string

	levelText string
	ran       bool // a command's own code has begun
}

// NewApp returns an App on the process's standard streams. level is the log
// level when --log-level does not say.
func NewApp(name string, level slog.Level) *App {
	a := &App{Name: name, In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	a.Level.Set(level)
	return a
}

// Logger returns the logger of the program: text lines on stderr.
func (a *App) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: &a.Level}))
}

// Run executes the tree and returns the exit code. It adds --log-level and
// makes a command that only groups others ask for one of them.
func (a *App) Run(ctx context.Context, root *cobra.Command, args []string) int {
	relaxGC()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetArgs(args)
	root.PersistentFlags().StringVar(&a.levelText, "log-level", "", "`LEVEL` of the log on stderr: debug, info, warn or error")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp) // few arguments of ours are files
	CompleteFlag(root, "log-level", Choices("debug", "info", "warn", "error"))
	root.SetUsageFunc(usage(root.UsageFunc()))
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.setLevel() }
	a.prepare(root)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	a.report(err, command.CommandPath())
	if !a.ran || isUsage(err) {
		return ExitUsage
	}
	return ExitFailed
}

var errInterrupted = errors.New("interrupted")

// LevelGiven reports whether --log-level was given.
func (a *App) LevelGiven() bool { return a.levelText != "" }

func (a *App) setLevel() error {
	if a.levelText == "" {
		return nil
	}
	level, err := ParseLevel(a.levelText)
	if err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	a.Level.Set(level)
	return nil
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not a log level: debug, info, warn or error", s)
}

// prepare walks the tree: it notes when a command's own code begins, since
// errors before that are usage errors, names the arguments that are missing, and
// gives pure groups a body.
func (a *App) prepare(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.ran = true
			return run(c, args)
		}
		c.Args = named(c.Args)
	} else if c.Run == nil && c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.SuggestionsMinimumDistance = 2
		c.RunE = group
	}
	for _, sub := range c.Commands() {
		a.prepare(sub)
	}
}

// named makes check name the argument that is missing or too many. The names are
// those of the line of usage.
func named(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		names := strings.Fields(c.Use)[1:]
		switch {
		case len(args) > len(names):
			return fmt.Errorf("%q is one argument too many", args[len(names)])
		case len(args) == len(names):
			return err
		}
		name, _, _ := strings.Cut(strings.TrimSuffix(names[len(args)], "..."), "[")
		return errors.New(name + " is missing")
	}
}

// usage prints groups without their body, which only asks for a command. A
// template would do the same, and make every program 2 MB larger.
func usage(print func(*cobra.Command) error) func(*cobra.Command) error {
	return func(c *cobra.Command) error {
		if body := c.RunE; c.HasSubCommands() {
			c.RunE = nil
			defer func() { c.RunE = body }()
		}
		return print(c)
	}
}

// group answers for a command that needs a subcommand.
func group(c *cobra.Command, args []string) error {
	next := c.CommandPath() + " --help"
	if len(args) == 0 {
		return WithNext(fmt.Errorf("a command is missing: %s", strings.Join(names(c), ", ")), next)
	}
	if similar := c.SuggestionsFor(args[0]); len(similar) > 0 {
		next = c.CommandPath() + " " + similar[0]
	}
	path := strings.Fields(c.CommandPath() + " " + args[0])
	return WithNext(fmt.Errorf("unknown command %q", strings.Join(path[1:], " ")), next)
}

func names(c *cobra.Command) []string {
	var list []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name())
		}
	}
	return list
}

// Interactive reports whether questions may be asked: stdin is a terminal.
func (a *App) Interactive() bool { return isTerminal(a.In) }

// OutTerminal reports whether stdout is a terminal.
func (a *App) OutTerminal() bool { return isTerminal(a.Out) }

// ErrTerminal reports whether stderr is a terminal.
func (a *App) ErrTerminal() bool { return isTerminal(a.Err) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
