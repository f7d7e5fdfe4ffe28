package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func (p *program) tunnel() *cobra.Command {
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(&cobra.Command{
		Use:   "tunnel ALIAS SERVICE[:LOCAL]...",
		Short: "Lead local ports to services of a device",
		Long: `Listen on LOCAL and lead each connection to the service, until interrupted. LOCAL
is a port of 127.0.0.1, a HOST:PORT, unix:/PATH, or - for stdin and stdout;
without it, any free port is taken and printed.

A lost session is dialled again: listeners stay open and new connections wait.
Tunnels go on when the path below them changes, which is told: from relay to
direct, and when this machine changes its network.
When the device revokes access, local connections are reset at once and the
command ends with the reason.`,
		Example: `  latchkey tunnel home ssh:2222 web:8080
  ssh -o ProxyCommand='latchkey tunnel home ssh:-' user@home`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var list []client.Forward
			for _, arg := range args[1:] {
				f, err := client.ParseForward(arg)
				if err != nil {
					return cli.Usage("%w", err)
				}
				list = append(list, f)
			}
			return p.forward(c.Context(), args[0], list)
		},
	})), p.aliases)
}

func (p *program) forward(ctx context.Context, alias string, list []client.Forward) error {
	stdio := slices.ContainsFunc(list, func(f client.Forward) bool { return f.Local == "-" })
	if stdio && len(list) > 1 {
		return cli.Usage("with LOCAL - there is one service, since there is one stdin")
	}
	p.alias = alias
	stdin := ""
	if stdio {
		stdin = "LOCAL -"
	}
	dial, err := p.dialOptions(stdin)
	if err != nil {
		return err
	}
	cl, err := p.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	out := p.Out
	if stdio {
		out = io.Discard // stdout belongs to the service
	}
	o := client.ForwardOptions{
		Dial:     dial,
		Event:    func(e client.ForwardEvent) { p.report(out, e) },
		Progress: new(client.Progress),
	}
	if p.ErrTerminal() && (!stdio || isFile(p.In) || isFile(p.Out)) {
		sent, received := &o.Progress.Sent, &o.Progress.Received
		defer cli.ShowProgress(p.Err, sent.Load, received.Load)()
	}
	return cl.Forward(ctx, alias, list, o)
}

// isFile reports whether a stream is a plain file. A ProxyCommand's streams are
// not, and there a progress line would stand in the middle of the user's ssh.
func isFile(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// event is a ForwardEvent in JSON.
type event struct {
	Event   string `json:"event"`
	Service string `json:"service,omitempty"`
	Path    string `json:"path,omitempty"`
	Addr    string `json:"addr,omitempty"`
	Error   string `json:"error,omitempty"`
}

// report writes to stdout where the tunnels listen, and the path when it is not
// the device's own network or changes; troubles to stderr. With --json all of it
// goes to stdout, a line each.
func (p *program) report(out io.Writer, e client.ForwardEvent) {
	line := event{Event: e.Kind, Service: e.Service, Path: e.Path, Addr: e.Addr}
	if e.Err != nil {
		line.Error = e.Err.Error()
	}
	switch {
	case p.JSON && out == p.Out:
		_ = p.PrintJSON(line) // nobody may be reading any more
	case e.Kind == "listening":
		fmt.Fprintf(out, "%s on %s\n", e.Service, e.Addr)
	case e.Kind == "path", e.Kind == "connected" && e.Path != "local":
		fmt.Fprintf(out, "path %s\n", e.Path)
	case e.Err != nil:
		p.Note(strings.TrimSpace(e.Kind+" "+e.Service), e.Err)
	}
}
