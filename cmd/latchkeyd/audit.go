package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) audit() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Read what has happened, and check that nobody has edited it"}
	c.AddCommand(p.auditShow(), p.auditVerify())
	return c
}

// outcomes of events, as a flag takes them.
var outcomes = []acl.Outcome{acl.OutcomeOK, acl.OutcomeRefused, acl.OutcomeFailed}

func (p *program) auditShow() *cobra.Command {
	var f daemon.Filter
	var kind []string
	var outcome, key, since string
	c := &cobra.Command{
		Use:   "show",
		Short: "Show records of the audit log, oldest first",
		Long: `Show records of the audit log, oldest first, without checking them. With --json
each is one line, as the log itself has it. --since takes a time such as
2027-01-31T12:00:00Z, or how long ago, such as 24h or 30d.`,
		Example: "  latchkeyd audit show --user bob --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			for _, k := range kind {
				f.Kinds = append(f.Kinds, acl.EventKind(k))
			}
			f.Outcome = acl.Outcome(outcome)
			if err := oneOf("--kind", f.Kinds, daemon.EventKinds); err != nil {
				return err
			}
			if outcome != "" {
				if err := oneOf("--outcome", []acl.Outcome{f.Outcome}, outcomes); err != nil {
					return err
				}
			}
			if key != "" {
				if f.Key, err = parseFingerprint(key); err != nil {
					return err
				}
			}
			if f.Since, err = parseSince(since); err != nil {
				return err
			}
			return p.showAudit(f)
		},
	}
	c.Flags().StringArrayVar(&kind, "kind", nil, "only this `KIND`, such as access, pair, user; repeatable")
	c.Flags().StringVar(&f.User, "user", "", "only what this `USER` did, or what was done to it")
	c.Flags().StringVar(&key, "key", "", "only what the key with this `FINGERPRINT` did")
	c.Flags().StringVar(&outcome, "outcome", "", "only this `OUTCOME`: ok, refused or failed")
	c.Flags().StringVar(&since, "since", "", "only since this `TIME`")
	c.Flags().IntVar(&f.Last, "last", 0, "only the newest `N`")
	cli.CompleteFlag(c, "kind", cli.Choices(daemon.EventKinds...))
	cli.CompleteFlag(c, "outcome", cli.Choices(outcomes...))
	cli.CompleteFlag(c, "user", p.userNames())
	cli.CompleteFlag(c, "key", p.keys())
	return p.JSONFlag(c)
}

// oneOf refuses values that are not among those that there are.
func oneOf[T ~string](flag string, values, all []T) error {
	known := make(map[T]bool, len(all))
	for _, v := range all {
		known[v] = true
	}
	for _, v := range values {
		if !known[v] {
			return cli.Usage("%s: %q is none of %s", flag, string(v), joined(all))
		}
	}
	return nil
}

// parseSince reads a time, or how long ago it was.
func parseSince(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := cli.ParseLife("--since", s)
	if err != nil {
		return time.Time{}, cli.Usage("--since: %q is neither a time, such as 2027-01-31T12:00:00Z, nor how long ago, such as 24h or 30d", s)
	}
	return time.Now().Add(-d), nil
}

func (p *program) showAudit(f daemon.Filter) error {
	t := cli.Table{Heading: []string{"time", "kind", "outcome", "who", "what", "detail"}}
	damaged := 0
	for r, err := range daemon.ReadAudit(p.dir, f) {
		var fault *daemon.Fault
		switch {
		case errors.As(err, &fault):
			p.Note("", err)
			damaged++
		case err != nil:
			return err
		case p.JSON:
			if err := p.PrintJSON(r); err != nil {
				return err
			}
		default:
			t.Add(cli.Stamp(r.Time), string(r.Kind), outcomeText(r), who(r), what(r), r.Detail)
		}
	}
	if !p.JSON {
		if err := p.Print(nil, t); err != nil {
			return err
		}
	}
	if damaged > 0 {
		return cli.WithNext(fmt.Errorf("%d lines are no records", damaged), "latchkeyd audit verify --dir "+p.dir)
	}
	return nil
}

func outcomeText(r daemon.Record) string {
	text := string(r.Outcome)
	if r.Code != 0 {
		text += ": " + r.Code.String()
	}
	if r.Repeats > 1 {
		text += fmt.Sprintf(" (%d times)", r.Repeats)
	}
	return text
}

// who is the user or key that acted, and from where.
func who(r daemon.Record) string {
	var words []string
	switch {
	case r.Console:
		words = append(words, "console")
	case r.User != "":
		words = append(words, r.User)
	}
	if !r.Key.IsZero() {
		words = append(words, r.Key.Short())
	}
	if r.Path != "" {
		words = append(words, string(r.Path))
	}
	if r.Source != "" {
		words = append(words, r.Source)
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, " ")
}

func what(r daemon.Record) string {
	if text := strings.TrimSpace(string(r.Action) + " " + r.Object); text != "" {
		return text
	}
	return "-"
}

func (p *program) auditVerify() *cobra.Command {
	return p.JSONFlag(&cobra.Command{
		Use:   "verify",
		Short: "Check that no record was changed, removed or moved",
		Long: `Check that no record was changed, removed or moved: each holds the hash of the one
before, the device's key has signed every so many of them, and access.db keeps
which was the last. The first place that does not fit is named, with exit code 1.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := daemon.VerifyAudit(c.Context(), p.dir)
			var fault *daemon.Fault
			if errors.As(err, &fault) {
				if p.JSON {
					err = errors.Join(p.PrintJSON(fault), err)
				}
				return cli.WithNext(err, "somebody can write to "+p.dir+", or the disk fails: trust nothing behind that place")
			}
			if err != nil {
				return err
			}
			var t cli.Table
			t.Add("verdict", "nothing was changed")
			t.Add("files", fmt.Sprint(r.Files))
			t.Add("records", fmt.Sprintf("%d to %d", r.First, r.Last))
			t.Add("signed", fmt.Sprintf("up to %d", r.Sealed))
			if r.Lost > 0 {
				t.Add("lost", fmt.Sprintf("%d events could not be written", r.Lost))
			}
			if r.Torn > 0 {
				t.Add("torn", fmt.Sprintf("%d bytes of a record that was being written", r.Torn))
			}
			return p.Print(r, t)
		},
	})
}
