// Command latchkeyd runs a device: it proves the device's key to clients, opens
// tunnels to the services that its configuration lists, forwards CoAP requests
// along its routes, and asks its access store before each of them.
//
//	latchkeyd init --service ssh=tcp://127.0.0.1:22 --pairing local-initial
//	latchkeyd run
//
// The other commands administer the running daemon, or its files when none runs.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/latchkey-dev/latchkey/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	app := cli.NewApp("latchkeyd", slog.LevelInfo)
	app.Next = next
	return app.Run(ctx, root(app), os.Args[1:])
}
