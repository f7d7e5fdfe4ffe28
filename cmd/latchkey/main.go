// Command latchkey reaches devices: it pairs with them, opens tunnels to their
// services and sends CoAP requests to them, end to end encrypted, by names that
// stand for the devices' keys.
//
//	latchkey pair "$URL" --as home
//	latchkey tunnel home ssh:2222
//	latchkey coap get home /device/info
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
	app := cli.NewApp("latchkey", slog.LevelWarn)
	return app.Run(ctx, root(app), os.Args[1:])
}
