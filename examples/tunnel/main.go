// Command tunnel leads local ports to services of a device, as latchkey tunnel
// does, in one screen of code:
//
//	tunnel -pair "$URL" -as home
//	tunnel home ssh:2222 web:8080
//
// A lost session is dialled again by itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "client-state", "`DIR` of key and known devices")
	url := flag.String("pair", "", "pair with the device of this `URL` and end")
	alias := flag.String("as", "home", "`ALIAS` for the device that is paired")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := &client.Client{Dir: *dir}
	run := func() error { return forward(ctx, c, flag.Args()) }
	if *url != "" {
		run = func() error { return pair(ctx, c, *url, *alias) }
	}
	if err := run(); err != nil {
		log.Fatal("tunnel: ", err)
	}
}

func pair(ctx context.Context, c *client.Client, text, alias string) error {
	u, err := latchkey.ParsePairingURL(text)
	if err != nil {
		return err
	}
	paired, err := c.Pair(ctx, u, client.PairOptions{Alias: alias})
	if err != nil {
		return err
	}
	fmt.Printf("paired with %s as %s (%s)\n", paired.Alias, paired.User, paired.Role)
	return nil
}

func forward(ctx context.Context, c *client.Client, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: tunnel ALIAS SERVICE[:LOCAL]")
	}
	var list []client.Forward
	for _, arg := range args[1:] {
		f, err := client.ParseForward(arg)
		if err != nil {
			return err
		}
		list = append(list, f)
	}
	return c.Forward(ctx, args[0], list, client.ForwardOptions{Event: report})
}

func report(e client.ForwardEvent) {
	if e.Kind == "listening" {
		fmt.Println(e.Service, "on", e.Addr)
	} else if e.Err != nil {
		log.Println(e.Kind, e.Service, e.Err)
	}
}
