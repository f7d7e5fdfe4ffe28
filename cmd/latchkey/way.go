package main

import (
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

// wayFlags are the choices of how to reach a device.
type wayFlags struct {
	via   string
	wait  bool
	token string
}

// wayFlags gives c the flags that say how to reach the device.
func (p *program) wayFlags(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringVar(&p.way.via, "via", "auto", "`WAY` to the device: local, direct, relay, or auto for the best that works")
	f.BoolVar(&p.way.wait, "wait", false, "wait until the device attaches to its basestation")
	f.StringVar(&p.way.token, "token", "", "`FILE` with a connect token or JWT for the basestation, or - for stdin (default the token that the device gave)")
	cli.CompleteFlag(c, "via", cli.Choices("auto", "local", "direct", "relay"))
	_ = c.MarkFlagFilename("token") // the flag exists
	return c
}

// dialOptions reads the flags. stdin tells who else wants it; "" if nobody does.
func (p *program) dialOptions(stdin string) (client.DialOptions, error) {
	o := client.DialOptions{Wait: p.way.wait}
	var err error
	if o.Via, err = client.ParseVia(p.way.via); err != nil {
		return o, cli.Usage("--via: %w", err)
	}
	switch {
	case o.Wait && o.Via == client.ViaLocal:
		return o, cli.Usage("--wait asks the basestation, and --via local does without it")
	case p.way.token == "":
		return o, nil
	case o.Via == client.ViaLocal:
		return o, cli.Usage("--token is for the basestation, and --via local does without it")
	case p.way.token == "-" && stdin != "":
		return o, cli.Usage("%s and --token - both want stdin", stdin)
	}
	text, err := p.readToken()
	if err != nil {
		return o, err
	}
	if o.Token, err = latchkey.ParseConnectToken(text); err == nil {
		return o, nil
	}
	if !isJWT(text) {
		return o, cli.Usage("--token %s: neither a connect token nor a JWT", p.way.token)
	}
	o.JWT = text
	return o, nil
}

func (p *program) readToken() (string, error) {
	in := p.In
	if p.way.token != "-" {
		f, err := os.Open(p.way.token)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxToken+1))
	if err == nil && len(text) > maxToken {
		err = fmt.Errorf("--token %s: longer than %d bytes", p.way.token, maxToken)
	}
	return strings.TrimSpace(string(text)), err
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
