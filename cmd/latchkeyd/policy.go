package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) policy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Look at policies, test and change them"}
	c.AddCommand(p.policyList(), p.policyShow(), p.policyCheck(), p.policyApply())
	return c
}

func (p *program) policyList() *cobra.Command {
	return p.command(&cobra.Command{Use: "list", Short: "List policies and the roles that have them"}, cobra.NoArgs,
		func(ctx context.Context, control *daemon.Control, _ []string) error {
			list, err := control.Policies(ctx)
			if err != nil {
				return err
			}
			t := cli.Table{Heading: []string{"policy", "roles"}}
			for _, policy := range list {
				t.Add(policy.Name, orNone(policy.Roles))
			}
			return p.Print(list, t)
		})
}

func (p *program) policyShow() *cobra.Command {
	c := p.command(&cobra.Command{
		Use:   "show POLICY",
		Short: "Print a policy in JSON, to be changed and applied again",
		Long: `Print a policy in JSON, to be changed and applied again. Its version goes to
stderr; with --json it stands beside the policy, and apply then replaces no other.`,
		Example: "  latchkeyd policy show guest --json > guest.json",
	}, cobra.ExactArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		list, err := control.Policies(ctx)
		if err != nil {
			return err
		}
		return p.showPolicy(list, args[0])
	})
	return cli.CompleteArgs(c, p.policyNames())
}

// showPolicy prints one policy as policy check reads it.
func (p *program) showPolicy(list []daemon.Policy, name string) error {
	i := slices.IndexFunc(list, func(policy daemon.Policy) bool { return policy.Name == name })
	if i < 0 {
		return cli.WithNext(fmt.Errorf("there is no policy %q", name), "latchkeyd policy list")
	}
	if p.JSON {
		return p.PrintJSON(list[i])
	}
	var text bytes.Buffer
	if err := json.Indent(&text, list[i].Text, "", "  "); err != nil {
		return err
	}
	p.Hint("to change it: latchkeyd policy apply FILE --if-version " + list[i].Version)
	return p.PrintLine(nil, text.String())
}

// document reads a document, or what policy show printed with --json, and tells what
// is wrong with its text.
func (p *program) document(name string) (daemon.Rulebook, error) {
	text, err := p.readFile(name, acl.MaxDocument)
	if err != nil {
		return daemon.Rulebook{}, err
	}
	policy, version := cli.ShownPolicy(text)
	_, err = acl.ParseDocument(name, policy)
	return daemon.Rulebook{File: name, Text: string(policy), Terms: daemon.Terms{Version: version}}, err
}

// onTerms takes the terms that a person gave for a document.
func onTerms(book *daemon.Rulebook, given daemon.Terms) error {
	book.Force = given.Force
	if given.Version == "" {
		return nil
	}
	d, err := acl.ParseDocument(book.File, []byte(book.Text))
	if err == nil && (len(d.Policies) != 1 || len(d.Roles) > 0) {
		err = cli.Usage("--if-version is for a file of one policy")
	}
	book.Version = given.Version
	return err
}

func (p *program) policyCheck() *cobra.Command {
	return p.JSONFlag(cli.CompleteFiles(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with policies and roles, and run their tests",
		Long: `Say what is wrong with the policies and roles in a file, or in stdin with -, with
line and column, and run the tests in it. What is valid and still most likely wrong
is told with a request that shows it: a door that is open to everybody, statements
that never decide, names that there are not. With --dir all is held against the
users, roles, policies and services of that device, else against those of a new one.
Without FILE it is about the policies and roles that are in force in --dir.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return p.checkInForce(c)
			}
			book, err := p.document(args[0])
			if err != nil {
				return err
			}
			var out daemon.Checked
			if c.Flags().Changed("dir") {
				err = p.control(c, func(control *daemon.Control) (err error) {
					out, err = control.CheckPolicies(c.Context(), book)
					return err
				})
			} else {
				out, err = daemon.CheckDocument(book, acl.Surroundings{Rules: acl.DefaultRules()})
			}
			if err != nil {
				return err
			}
			return p.printChecked(out, book.File, "correct "+book.File+" as is said above")
		},
	}))
}

// checkInForce looks at what the device has.
func (p *program) checkInForce(c *cobra.Command) (err error) {
	var out daemon.Checked
	err = p.control(c, func(control *daemon.Control) (err error) {
		out, err = control.CheckInForce(c.Context())
		return err
	})
	if err != nil {
		return err
	}
	return p.printChecked(out, "", "correct it as is said above, with latchkeyd policy apply or latchkeyd role put")
}

// printChecked tells what a look at a file, or at what is in force, found.
func (p *program) printChecked(out daemon.Checked, file, next string) error {
	if p.JSON {
		if err := p.PrintJSON(out); err != nil {
			return err
		}
	} else {
		p.printFindings(out.Findings)
	}
	switch err := p.failed(file, out.Failures, ""); {
	case err != nil:
		return err
	case out.Wrong():
		return cli.WithNext(errors.New("the policies most likely allow what they should not"), next)
	case p.JSON:
		return nil
	case len(out.Findings) > 0:
		return p.PrintLine(nil, out.String()+": look at what is said above")
	}
	return p.PrintLine(nil, out.String()+": nothing wrong")
}

// printFindings tells what is valid and still most likely wrong, each with a request
// that shows it.
func (p *program) printFindings(list []daemon.Finding) {
	for _, f := range list {
		place := f.Place
		if place != "" {
			place += ": "
		}
		fmt.Fprintf(p.Err, "%s%s: %s\n", place, f.Severity, f.Text)
		if f.Example != nil {
			fmt.Fprintf(p.Err, "  such as: %s\n  which is: %s\n", f.Example, f.Becomes)
		}
		if f.Fix != "" {
			fmt.Fprintf(p.Err, "  instead: %s\n", f.Fix)
		}
	}
}

// failed tells which tests have failed.
func (p *program) failed(file string, failures []string, more string) error {
	if len(failures) == 0 {
		return nil
	}
	for _, f := range failures {
		p.Note("", errors.New(f))
	}
	text := fmt.Sprintf("%d tests failed%s", len(failures), more)
	if len(failures) == 1 {
		text = "1 test failed" + more
	}
	return cli.WithNext(errors.New(text), "correct the policies or the tests in "+file)
}

// forced is the help of --force where policies or roles change.
const forced = "also when the device is left without an administrator, or a door is most likely open by mistake"

func (p *program) policyApply() *cobra.Command {
	var trial bool
	var t daemon.Terms
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put the policies and roles of a file in force, if their tests pass",
		Long: `Put the policies and roles of a file, or of stdin with -, in the place of those of
the same names; all others stay. The tests in the file run first, with what the
device has, and nothing is changed unless all pass. What most likely opens a door by
mistake, as policy check says it, is refused too, unless it was open before or with
--force. All of it is one change, and takes effect at once, also on what is under way.

A file that "policy show --json" printed and somebody edited knows the version that
was shown, and is refused if the policy is another one by now.`,
		Example: "  latchkeyd policy show guest --json > guest.json\n  latchkeyd policy apply guest.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			book, err := p.document(args[0])
			if err != nil {
				return err
			}
			book.Trial = trial
			if err := onTerms(&book, t); err != nil {
				return err
			}
			return p.control(c, func(control *daemon.Control) error {
				out, err := control.ApplyPolicies(c.Context(), book)
				if err != nil {
					return err
				}
				return p.printApplied(book, out)
			})
		},
	}
	c.Flags().BoolVar(&trial, "dry-run", false, "change nothing, only run the tests and show what would change")
	c.Flags().StringVar(&t.Version, "if-version", "", "only if the one policy of the file still has this `VERSION`; absent: only if there is none")
	c.Flags().BoolVar(&t.Force, "force", false, forced)
	return p.JSONFlag(cli.CompleteFiles(c))
}

func (p *program) printApplied(book daemon.Rulebook, out daemon.Applied) error {
	if err := p.failed(book.File, out.Failures, ", and nothing was changed"); err != nil {
		return err
	}
	var t cli.Table
	for _, one := range out.Changes {
		t.Add(one.Kind, one.Name, one.Change)
	}
	if book.Trial && out.Differs() {
		p.Hint("nothing was changed; repeat the command without --dry-run to do it")
	}
	return p.Print(out.Changes, t)
}
