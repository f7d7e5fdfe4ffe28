package main

import (
	"fmt"
	"slices"
	"strings"

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
			if !slices.Contains(acl.Actions(), q.Action) {
				return cli.Usage("unknown action %q; actions: %s", action, joined(acl.Actions()))
			}
			if !slices.Contains(paths, q.Path) {
				return cli.Usage("unknown path %q; paths: %s", path, joined(paths))
			}
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
	cli.CompleteFlag(c, "user", p.userNames())
	cli.CompleteFlag(c, "key", p.keys())
	cli.CompleteFlag(c, "action", cli.Choices(acl.Actions()...))
	cli.CompleteFlag(c, "path", cli.Choices(paths...))
	return p.JSONFlag(c)
}

// paths are the ways that a peer can be connected.
var paths = []acl.PathKind{acl.PathLocal, acl.PathDirect, acl.PathRelay}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

func explanationTable(e daemon.Explanation) cli.Table {
	verdict := "refused"
	if e.Allowed {
		verdict = "allowed"
	}
	var t cli.Table
	t.Add("verdict", verdict)
	t.Add("because", e.Reason)
	user := e.User
	if user == "" {
		user = "none"
	}
	t.Add("user", user)
	t.Add("role", e.Role)
	for _, s := range e.Trace {
		text := "matches"
		if !s.Matched {
			text = "does not match: " + s.Reason
		}
		t.Add(fmt.Sprintf("policy %s, statement %d", s.Policy, s.Statement), s.Effect+", "+text)
	}
	return t
}
