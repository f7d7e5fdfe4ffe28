package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// maxToken is the length of what a file with a token may hold, in bytes.
const maxToken = 16 << 10

// wayFlags are the choices of how to reach a device, and as whom.
type wayFlags struct {
	via   string
	wait  bool
	token string
	login string
}

// wayFlags gives c the flags that say how to reach the device.
func (p *program) wayFlags(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringVar(&p.way.via, "via", "auto", "`WAY` to the device: local, direct, relay, or auto for the best that works")
	f.BoolVar(&p.way.wait, "wait", false, "wait until the device attaches to its basestation")
	f.StringVar(&p.way.token, "token", "", "`FILE` with a connect token or JWT for the basestation, or - for stdin (default the token that the device gave)")
	f.StringVar(&p.way.login, "login-token", "", "`FILE` with a JWT for the device itself, read anew when a fresh one is due, or - for stdin")
	cli.CompleteFlag(c, "via", cli.Choices("auto", "local", "direct", "relay"))
	_ = c.MarkFlagFilename("token") // the flags exist
	_ = c.MarkFlagFilename("login-token")
	return c
}

// dialOptions reads the flags. stdin tells who else wants it; "" if nobody does.
func (p *program) dialOptions(stdin string) (client.DialOptions, error) {
	o := client.DialOptions{Wait: p.way.wait}
	var err error
	if o.Via, err = client.ParseVia(p.way.via); err != nil {
		return o, cli.Usage("--via: %w", err)
	}
	if o.Wait && o.Via == client.ViaLocal {
		return o, cli.Usage("--wait asks the basestation, and --via local does without it")
	}
	if p.way.token == "-" && stdin != "" {
		return o, cli.Usage("%s and --token - both want stdin", stdin)
	} else if p.way.token == "-" {
		stdin = "--token -"
	}
	if p.way.login == "-" && stdin != "" {
		return o, cli.Usage("%s and --login-token - both want stdin", stdin)
	}
	if err := p.gateToken(&o); err != nil {
		return o, err
	}
	return o, p.loginToken(&o)
}

// gateToken sets what opens the basestation's gate.
func (p *program) gateToken(o *client.DialOptions) error {
	if p.way.token == "" {
		return nil
	}
	if o.Via == client.ViaLocal {
		return cli.Usage("--token is for the basestation, and --via local does without it")
	}
	text, err := p.readToken("--token", p.way.token)
	if err != nil {
		return err
	}
	if o.Token, err = latchkey.ParseConnectToken(text); err == nil {
		return nil
	}
	if !isJWT(text) {
		return cli.Usage("--token %s: neither a connect token nor a JWT", p.way.token)
	}
	o.JWT = text
	return nil
}

// loginToken sets who logs in at the device. A file is read each time; what came
// from stdin is all there is.
func (p *program) loginToken(o *client.DialOptions) error {
	if p.way.login == "" {
		return nil
	}
	text, err := p.readJWT()
	if err != nil {
		return err
	}
	o.Login = func(context.Context) (string, error) {
		if p.way.login == "-" {
			return text, nil
		}
		return p.readJWT()
	}
	return nil
}

func (p *program) readJWT() (string, error) {
	text, err := p.readToken("--login-token", p.way.login)
	if err == nil && !isJWT(text) {
		err = cli.Usage("--login-token %s: not a JWT", p.way.login)
	}
	return text, err
}

// readToken reads the file that a flag names.
func (p *program) readToken(flag, name string) (string, error) {
	text, err := p.readSmall(flag, name, maxToken)
	return strings.TrimSpace(string(text)), err
}

// readSmall reads the file that a flag names, or stdin for -, of at most limit
// bytes.
func (p *program) readSmall(flag, name string, limit int64) ([]byte, error) {
	in := p.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s %s: longer than %d bytes", flag, name, limit)
	}
	return text, err
}

// isJWT reports whether s has the form of a signed JWT (RFC 7519 section 3). The
// basestation decides whether it is one.
func isJWT(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if part == "" || strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(parts) == 3
}
