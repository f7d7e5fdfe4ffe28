// Command latchkey-basestation introduces clients to devices that they cannot
// reach by themselves, and relays for those whose networks leave no other way.
// It never sees what they say to each other.
//
//	latchkey-basestation init --public-address 203.0.113.5
//	latchkey-basestation run
//	latchkey-basestation device add acme/gw1 FINGERPRINT
//
// The other commands administer the running basestation, or its files when none
// runs.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/internal/station"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	app := cli.NewApp("latchkey-basestation", slog.LevelInfo)
	app.Next = station.NextStep
	return app.Run(ctx, root(app), os.Args[1:])
}
