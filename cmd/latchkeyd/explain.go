package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

// asked are the flags of explain as they were typed.
type asked struct {
	user, key, role, action, resource, path, source, time, age string
	claims                                                     []string
}

func (p *program) explain() *cobra.Command {
	var in asked
	var q daemon.Question
	c := p.command(&cobra.Command{
		Use:   "explain",
		Short: "Say whether an operation is allowed, and why",
		Long: `Say whether an operation is allowed, and which statement of which policy decided.
Without --user, --key and --role the question is about a stranger. Where a program
decides in place of the policies, it is asked, and the policies are shown beside.`,
		Example: `  latchkeyd explain --user alice --action tunnel:open --resource ssh
  latchkeyd explain --user bob --action coap:put --resource /light/1 --path relay --time 2027-01-31T23:00:00Z`,
	}, cobra.NoArgs, func(ctx context.Context, control *daemon.Control, _ []string) error {
		e, err := control.Explain(ctx, q)
		if err != nil {
			return err
		}
		return p.Print(e, explanationTable(e))
	})
	p.first(c, func([]string) (err error) {
		q, err = in.question()
		return err
	})
	f := c.Flags()
	f.StringVar(&in.user, "user", "", "`USER` who asks")
	f.StringVar(&in.key, "key", "", "`FINGERPRINT` of the key that asks")
	f.StringVar(&in.role, "role", "", "`ROLE` of somebody who asks and is no user, as a token makes")
	f.StringVar(&in.action, "action", "", "`ACTION`, such as tunnel:open or coap:get")
	f.StringVar(&in.resource, "resource", "", "`RESOURCE`: a path, a service, an upstream URL")
	f.StringVar(&in.path, "path", string(acl.PathLocal), "how the peer is connected: local, direct or relay")
	f.StringVar(&in.source, "source", "", "`ADDRESS` that the peer comes from")
	f.StringVar(&in.time, "time", "", "`TIME` such as 2027-01-31T12:00:00Z, or unknown (default now)")
	f.StringVar(&in.age, "key-age", "", "how long ago the key was added: a `DURATION` such as 90m or 30d")
	f.StringArrayVar(&in.claims, "claim", nil, "`NAME=VALUE` that the peer's token claims; a name given twice has a list")
	for _, name := range []string{"action", "resource"} {
		_ = c.MarkFlagRequired(name) // the flag exists
	}
	c.MarkFlagsMutuallyExclusive("user", "role")
	c.MarkFlagsMutuallyExclusive("key", "role")
	c.MarkFlagsMutuallyExclusive("key", "key-age")
	cli.CompleteFlag(c, "user", p.userNames())
	cli.CompleteFlag(c, "key", p.keys())
	cli.CompleteFlag(c, "role", p.roleNames())
	cli.CompleteFlag(c, "action", cli.Choices(acl.Actions()...))
	cli.CompleteFlag(c, "path", cli.Choices(paths...))
	cli.CompleteFlag(c, "time", cli.Choices("unknown"))
	return c
}

// question reads the flags.
func (in *asked) question() (q daemon.Question, err error) {
	q = daemon.Question{User: in.user, Role: in.role, Action: acl.Action(in.action), Resource: in.resource, Path: acl.PathKind(in.path)}
	if !slices.Contains(acl.Actions(), q.Action) {
		return q, cli.Usage("unknown action %q; actions: %s", in.action, joined(acl.Actions()))
	}
	if !slices.Contains(paths, q.Path) {
		return q, cli.Usage("unknown path %q; paths: %s", in.path, joined(paths))
	}
	if in.key != "" {
		q.Key = new(latchkey.Fingerprint)
		if *q.Key, err = parseFingerprint(in.key); err != nil {
			return q, err
		}
	}
	if in.source != "" {
		if q.Source, err = netip.ParseAddr(in.source); err != nil {
			return q, cli.Usage("--source: %q is not an address", in.source)
		}
	}
	switch {
	case in.time == "unknown":
		q.NoClock = true
	case in.time != "":
		if q.Time, err = time.Parse(time.RFC3339, in.time); err != nil {
			return q, cli.Usage("--time: %q is neither a time, such as 2027-01-31T12:00:00Z, nor unknown", in.time)
		}
	}
	if in.age != "" {
		if q.KeyAge, err = cli.ParseLife("--key-age", in.age); err != nil {
			return q, err
		}
	}
	return q, in.readClaims(&q)
}

func (in *asked) readClaims(q *daemon.Question) error {
	for _, text := range in.claims {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return cli.Usage("--claim: %q is not NAME=VALUE", text)
		}
		if q.Claims == nil {
			q.Claims = make(map[string][]string)
		}
		q.Claims[name] = append(q.Claims[name], value)
	}
	return nil
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
	if e.Mode != "" {
		verdict += ", " + e.Mode
	}
	var t cli.Table
	t.Add("verdict", verdict)
	t.Add("because", e.Reason)
	decider, says := "the policies", ""
	if e.Webhook != "" {
		decider, says = "the webhook "+e.Webhook, " (does not decide)"
	}
	t.Add("decided by", decider)
	user := e.User
	if user == "" {
		user = "none"
	}
	t.Add("user", user)
	t.Add("role", e.Role)
	for _, s := range e.Trace {
		text := s.Effect + ", " + s.Reason
		switch {
		case !s.Matched:
			text = s.Effect + ", does not match: " + s.Reason
		case s.Decided:
			text += ", and decides"
		}
		t.Add(fmt.Sprintf("policy %s, statement %d%s", s.Policy, s.Statement, says), text)
	}
	return t
}
