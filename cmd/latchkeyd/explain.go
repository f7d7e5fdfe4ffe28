package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) explain() *cobra.Command {
	var user, key, action, resource, path string
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say whether an operation is allowed, and why",
		Long: `Say whether an operation is allowed, and which statement of which policy decided.
Without --user and --key the question is about a stranger.`,
		Example: "  latchkeyd explain --user alice --action tunnel:open --resource ssh",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := daemon.Question{User: user, Action: acl.Action(action), Resource: resource, Path: acl.PathKind(path)}
			if key != "" {
				fp, err := parseFingerprint(key)
				if err != nil {
					return err
				}
				q.Key = &fp
			}
			return p.control(c, func(control *daemon.Control) error {
				e, err := control.Explain(c.Context(), q)
				if err != nil {
					return err
				}
				return p.Print(e, explanationTable(e))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&user, "user", "", "`USER` who asks")
	f.StringVar(&key, "key", "", "`FINGERPRINT` of the key that asks")
	f.StringVar(&action, "action", "", "`ACTION`, such as tunnel:open or coap:get")
	f.StringVar(&resource, "resource", "", "`RESOURCE`: a path, a service, an upstream URL")
	f.StringVar(&path, "path", string(acl.PathLocal), "how the peer is connected: local, direct or relay")
	for _, name := range []string{"action", "resource"} {
		_ = c.MarkFlagRequired(name) // the flag exists
	}
	return p.JSONFlag(c)
}

func explanationTable(e daemon.Explanation) cli.Table {
	verdict := "refused"
	if e.Allowed {
		verdict = "allowed"
	}
	var t cli.Table
	t.Add("verdict", verdict)
	t.Add("because", e.Reason)
	t.Add("user", e.User)
	t.Add("role", e.Role)
	for _, s := range e.Trace {
		text := s.Reason
		if s.Matched {
			text = "matches"
		}
		t.Add(fmt.Sprintf("%s %d", s.Policy, s.Statement), s.Effect+": "+text)
	}
	return t
}
