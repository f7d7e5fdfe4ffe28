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
	c.AddCommand(p.policyShow(), p.policyCheck(), p.policyApply())
	return c
}

func (p *program) policyShow() *cobra.Command {
	c := p.command(&cobra.Command{
		Use:     "show [NAME]",
		Short:   "List the policies, or print one in full, to be changed and applied again",
		Example: "  latchkeyd policy show guest > guest.json",
	}, cobra.MaximumNArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		list, err := control.Policies(ctx)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return p.showPolicy(list, args[0])
		}
		t := cli.Table{Heading: []string{"policy", "roles"}}
		for _, policy := range list {
			t.Add(policy.Name, orNone(policy.Roles))
		}
		return p.Print(list, t)
	})
	return cli.CompleteArgs(c, p.policyNames())
}

// showPolicy prints one policy as policy check reads it.
func (p *program) showPolicy(list []daemon.Policy, name string) error {
	i := slices.IndexFunc(list, func(policy daemon.Policy) bool { return policy.Name == name })
	if i < 0 {
		return cli.WithNext(fmt.Errorf("there is no policy %q", name), "latchkeyd policy show")
	}
	if p.JSON {
		return p.PrintJSON(list[i])
	}
	var text bytes.Buffer
	if err := json.Indent(&text, list[i].Text, "", "  "); err != nil {
		return err
	}
	return p.PrintLine(nil, text.String())
}

// document reads a document and tells what is wrong with its text.
func (p *program) document(name string) (daemon.Rulebook, error) {
	text, err := p.readFile(name, acl.MaxDocument)
	if err != nil {
		return daemon.Rulebook{}, err
	}
	_, err = acl.ParseDocument(name, text)
	return daemon.Rulebook{File: name, Text: string(text)}, err
}

func (p *program) policyCheck() *cobra.Command {
	return p.JSONFlag(cli.CompleteFiles(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with policies and roles, and run their tests",
		Long: `Say what is wrong with the policies and roles in a file, or in stdin with -, with
line and column, and run the tests in it. What is valid and still most likely wrong
is told with a request that shows it: a door that is open to everybody, statements
that never decide, names that there are not. With --dir all is held against the
users, roles, policies and services of that device, else against those of a new one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
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
			return p.printChecked(book.File, out)
		},
	}))
}

func (p *program) printChecked(file string, out daemon.Checked) error {
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
		return cli.WithNext(errors.New("the policies most likely allow what they should not"), "correct "+file+" as is said above")
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

func (p *program) policyApply() *cobra.Command {
	var trial, force bool
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put the policies and roles of a file in force, if their tests pass",
		Long: `Put the policies and roles of a file, or of stdin with -, in the place of those of
the same names; all others stay. The tests in the file run first, with what the
device has, and nothing is changed unless all pass. All of it is one change, and
takes effect at once, also on what is under way.`,
		Example: "  latchkeyd policy apply evenings.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			book, err := p.document(args[0])
			if err != nil {
				return err
			}
			book.Trial, book.Force = trial, force
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
	c.Flags().BoolVar(&force, "force", false, "also when the device is left without an administrator")
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
