// Bench measures what the README claims, with the programs that people run:
// processes of latchkeyd, latchkey and latchkey-basestation, talking over
// loopback. It prints one table
// with the measured value, the target and the command of each figure. Nothing
// is judged by time: a figure below its target is a MISS in the table and no
// more. Only wrong bytes, failed operations and measurements that could not be
// made end it with exit code 1.
//
//	make bench
//	make bench BENCH='-quick -only tunnel,coap'
//	make bench-basestation
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A group is a set of figures that are measured together.
type group struct {
	name  string
	about string
	limit time.Duration // the measurement is given up after this
	run   func(context.Context, *bed) ([]figure, error)
}

var groups = []group{
	{"tunnel", "one TCP stream, by iperf3, beside raw loopback", 20 * time.Minute, measureTunnel},
	{"transfer", "1 GiB each way, compared by SHA-256", 10 * time.Minute, measureTransfer},
	{"parallel", "200 connections in one session, 5 MiB each way", 10 * time.Minute, measureParallel},
	{"churn", "1,000 opens: does anything stay behind?", 10 * time.Minute, measureChurn},
	{"opens", "100,000 opens over the life of one tunnel command", 30 * time.Minute, measureOpens},
	{"stall", "a reader that stops, and its neighbours", 10 * time.Minute, measureStall},
	{"coap", "requests per second, 200,000 in one session", 20 * time.Minute, measureCoAP},
	{"attach", "10,000 devices attached to one basestation", 10 * time.Minute, measureAttach},
	{"outage", "2,000 devices whose basestation is killed and comes back", 10 * time.Minute, measureOutage},
	{"relay", "sessions through the relay of a basestation", 10 * time.Minute, measureRelay},
	{"size", "memory of an idle daemon, size of small programs", 10 * time.Minute, measureSize},
}

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as the programs that it stands for
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments.
func run(args []string, stdout, stderr io.Writer) int {
	o, chosen, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case o.list:
		for _, g := range groups {
			fmt.Fprintf(stdout, "%-10s%s\n", g.name, g.about)
		}
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	b, err := newBed(ctx, o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	defer b.close()
	r := report{Machine: describeMachine(), Revision: b.revision, Quick: o.quick}
	for _, g := range chosen {
		if ctx.Err() != nil {
			break
		}
		r.Figures = append(r.Figures, b.measure(ctx, g)...)
	}
	if err := r.print(stdout, o.json); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if ctx.Err() != nil || r.failed() {
		return 1
	}
	return 0
}

// measure runs one group. A group that breaks off keeps the figures it has and
// gains one that says why.
func (b *bed) measure(ctx context.Context, g group) []figure {
	fmt.Fprintf(b.progress, "%s: %s\n", g.name, g.about)
	ctx, cancel := context.WithTimeoutCause(ctx, g.limit, fmt.Errorf("not done after %v", g.limit))
	defer cancel()
	start := time.Now()
	figures, err := g.run(ctx, b)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		figures = append(figures, figure{Name: "not measured", Note: err.Error(), Command: b.command(g.name), Failed: true})
	}
	for i := range figures {
		figures[i].Group = g.name
		if figures[i].Command == "" {
			figures[i].Command = b.command(g.name)
		}
	}
	fmt.Fprintf(b.progress, "%s: %.0f s\n", g.name, time.Since(start).Seconds())
	return figures
}

// options are the flags.
type options struct {
	quick  bool
	json   bool
	list   bool
	runs   int           // of timed measurements; the median counts
	length time.Duration // of each
	bin    string        // directory with the programs; "": they are built
}

func parse(args []string, stderr io.Writer) (options, []group, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.quick, "quick", false, "small amounts and one short run each: does it work?")
	f.BoolVar(&o.json, "json", false, "print one JSON document instead of the table")
	f.IntVar(&o.runs, "runs", 5, "`number` of timed runs; the median counts")
	f.DurationVar(&o.length, "length", 5*time.Second, "`duration` of each timed run")
	f.StringVar(&o.bin, "bin", "", "`directory` with the programs; without it they are built")
	f.StringVar(&only, "only", "", "comma-separated `groups` to measure; without it all")
	f.BoolVar(&o.list, "list", false, "print the groups and exit")
	if err := f.Parse(args); err != nil {
		return o, nil, err
	}
	if o.quick {
		o.runs, o.length = 1, time.Second
	}
	if f.NArg() > 0 || o.runs < 1 || o.length < time.Second {
		return o, nil, fmt.Errorf("at least one run of at least a second, and no arguments: %q", f.Args())
	}
	chosen, err := choose(only)
	return o, chosen, err
}

// choose returns the groups that a list names, in their own order.
func choose(only string) ([]group, error) {
	if only == "" {
		return groups, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return nil, fmt.Errorf("no group %q; -list shows them", name)
		}
	}
	var chosen []group
	for _, g := range groups {
		if slices.Contains(names, g.name) {
			chosen = append(chosen, g)
		}
	}
	return chosen, nil
}
