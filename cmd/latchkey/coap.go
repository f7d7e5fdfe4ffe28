package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// maxBody is what a device accepts by default, in bytes.
const maxBody = 1 << 20

// coapFlags are the choices of one CoAP command.
type coapFlags struct {
	data   string
	format string
	accept string
}

func (p *program) coap() *cobra.Command {
	c := &cobra.Command{Use: "coap", Short: "Send CoAP requests to a device"}
	for _, m := range []struct {
		name   string
		method client.Method
		body   bool
	}{
		{"get", client.GET, false},
		{"post", client.POST, true},
		{"put", client.PUT, true},
		{"delete", client.DELETE, false},
	} {
		c.AddCommand(p.coapRequest(m.name, m.method, m.body))
	}
	c.AddCommand(p.coapObserve())
	return c
}

func (p *program) coapRequest(name string, method client.Method, body bool) *cobra.Command {
	var f coapFlags
	c := &cobra.Command{
		Use:     name + " ALIAS PATH",
		Short:   "Send a " + strings.ToUpper(name) + " request and print the answer",
		Example: "  latchkey coap " + name + " home /light/1",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := p.request(c, method, args[1], f)
			if err != nil {
				return err
			}
			stdin := ""
			if f.data == "-" {
				stdin = "--data -"
			}
			return p.dial(c, args[0], stdin, func(conn *client.Conn) error {
				answer, err := conn.Do(c.Context(), r)
				if err != nil {
					return p.noResource(err)
				}
				return p.printAnswer(answer)
			})
		},
	}
	c.Flags().StringVar(&f.accept, "accept", "", "wanted `FORMAT` of the answer: a name such as json, or a number")
	if body {
		c.Flags().StringVar(&f.data, "data", "", "body: text, @FILE, or - for stdin")
		c.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the body: a name such as json, or a number")
	}
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(c)), p.aliases)
}

// noResource says where to find out which paths there are.
func (p *program) noResource(err error) error {
	if errors.Is(err, latchkey.ErrNotFound) {
		return cli.WithNext(err, "latchkey coap get "+p.alias+" /.well-known/core")
	}
	return err
}

func (p *program) request(c *cobra.Command, method client.Method, path string, f coapFlags) (*client.Request, error) {
	r := client.NewRequest(method, path)
	var err error
	if f.accept != "" {
		if r.Accept, err = parseFormat(f.accept); err != nil {
			return nil, err
		}
	}
	if !c.Flags().Changed("data") {
		return r, nil
	}
	if r.Format, err = parseFormat(f.format); err != nil {
		return nil, err
	}
	r.Body, err = p.data(f.data)
	return r, err
}

// data returns the body that --data stands for.
func (p *program) data(arg string) ([]byte, error) {
	in := p.In
	if name, ok := strings.CutPrefix(arg, "@"); ok {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if arg != "-" {
		return []byte(arg), nil
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("the body is larger than %d bytes", maxBody)
	}
	if body == nil {
		body = []byte{}
	}
	return body, err
}

func (p *program) coapObserve() *cobra.Command {
	return cli.CompleteArgs(p.wayFlags(p.JSONFlag(&cobra.Command{
		Use:   "observe ALIAS PATH",
		Short: "Print a resource now and each time that it changes, until interrupted",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return p.dial(c, args[0], "", func(conn *client.Conn) error {
				return p.observe(c.Context(), conn, args[1])
			})
		},
	})), p.aliases)
}

func (p *program) observe(ctx context.Context, conn *client.Conn, path string) error {
	for answer, err := range conn.Observe(ctx, path) {
		if ctx.Err() != nil {
			return nil // interrupted, as intended
		}
		if err != nil {
			return p.noResource(err)
		}
		if err := p.printState(answer); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return cli.WithNext(fmt.Errorf("observe %s: the device ended the observation", path), "repeat the command")
	}
	return nil
}
