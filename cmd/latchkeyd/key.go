package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/daemon"
)

func (p *program) key() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Administer keys of users"}
	c.AddCommand(p.keyAdd(), p.keyRename(), p.keyExpire(), p.keyPolicies(), p.keyRemove())
	return c
}

func (p *program) keyAdd() *cobra.Command {
	var k daemon.NewKey
	var expires string
	c := p.command(&cobra.Command{
		Use:     "add USER FINGERPRINT",
		Short:   "Let one more key act as a user",
		Example: "  latchkeyd key add bob FINGERPRINT --name phone",
	}, cobra.ExactArgs(2), func(ctx context.Context, control *daemon.Control, _ []string) error {
		return p.printUser(control.AddKey(ctx, k))
	})
	p.first(c, func(args []string) (err error) {
		k.User = args[0]
		if k.Fingerprint, err = parseFingerprint(args[1]); err == nil {
			k.Expires, err = cli.ParseWhen("--expires", expires)
		}
		return err
	})
	c.Flags().StringVar(&k.Name, "name", "", "`NAME` for the key, such as phone")
	c.Flags().StringVar(&expires, "expires", "", "end of the key: "+cli.WhenText)
	return cli.CompleteArgs(terms(c, &k.Terms, false), p.userNames())
}

func (p *program) keyRename() *cobra.Command {
	var t daemon.Terms
	var key latchkey.Fingerprint
	c := p.command(&cobra.Command{Use: "rename FINGERPRINT NAME", Short: "Give a key another name"}, cobra.ExactArgs(2),
		func(ctx context.Context, control *daemon.Control, args []string) error {
			return p.printUser(control.RenameKey(ctx, key, args[1], t))
		})
	p.first(c, readKey(&key))
	return cli.CompleteArgs(terms(c, &t, false), p.keys())
}

func (p *program) keyExpire() *cobra.Command {
	var t daemon.Terms
	var key latchkey.Fingerprint
	var when time.Time
	c := p.command(&cobra.Command{
		Use:     "expire FINGERPRINT WHEN",
		Short:   "Say when a key ends; its user stays",
		Long:    "Say when a key ends; its user stays.\n" + cli.WhenArg,
		Example: "  latchkeyd key expire FINGERPRINT 30d",
	}, cobra.ExactArgs(2), func(ctx context.Context, control *daemon.Control, _ []string) error {
		return p.printUser(control.SetKeyExpiry(ctx, key, when, t))
	})
	p.first(c, func(args []string) (err error) {
		if err = readKey(&key)(args); err == nil {
			when, err = cli.ParseWhen("WHEN", args[1])
		}
		return err
	})
	return cli.CompleteArgs(terms(c, &t, true), p.keys(), cli.Choices("never"))
}

func (p *program) keyPolicies() *cobra.Command {
	var t daemon.Terms
	var key latchkey.Fingerprint
	var none bool
	c := p.command(&cobra.Command{
		Use:     "policies FINGERPRINT [POLICY]...",
		Short:   "Say which policies hold for a key beside those of its user",
		Example: "  latchkeyd key policies FINGERPRINT evenings\n  latchkeyd key policies FINGERPRINT --none",
	}, cobra.MinimumNArgs(1), func(ctx context.Context, control *daemon.Control, args []string) error {
		return p.printUser(control.SetKeyPolicies(ctx, key, args[1:], t))
	})
	p.first(c, func(args []string) error {
		if err := someOrNone(args[1:], none); err != nil {
			return err
		}
		return readKey(&key)(args)
	})
	c.Flags().BoolVar(&none, "none", false, "no policies but those of the user")
	return cli.CompleteArgs(terms(c, &t, true), p.attaching(p.keys())...)
}

func (p *program) keyRemove() *cobra.Command {
	var t daemon.Terms
	var key latchkey.Fingerprint
	c := p.command(&cobra.Command{Use: "remove FINGERPRINT", Short: "Remove one key of a user; its sessions end at once"}, cobra.ExactArgs(1),
		func(ctx context.Context, control *daemon.Control, _ []string) error {
			if err := control.RemoveKey(ctx, key, t); err != nil || !p.JSON {
				return err
			}
			return p.PrintJSON(map[string]latchkey.Fingerprint{"key": key})
		})
	p.first(c, readKey(&key))
	return cli.CompleteArgs(terms(c, &t, true), p.keys())
}

// readKey reads the fingerprint that is the first argument.
func readKey(key *latchkey.Fingerprint) func([]string) error {
	return func(args []string) (err error) {
		*key, err = parseFingerprint(args[0])
		return err
	}
}
