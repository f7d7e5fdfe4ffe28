package main

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey/client"
)

const (
	pingPause = time.Second
	pingWait  = 5 * time.Second
)

// A roundTrip is one line of ping.
type roundTrip struct {
	Alias string `json:"alias"`
	client.Path
	Milliseconds float64 `json:"ms"`
}

// pingTimes prints one line for each round trip, a second apart.
func (p *program) pingTimes(ctx context.Context, conn *client.Conn, alias string, count int) error {
	for i := range count {
		if i > 0 && !pause(ctx, pingPause) {
			return nil
		}
		bounded, cancel := context.WithTimeout(ctx, pingWait)
		took, err := conn.Ping(bounded)
		cancel()
		if err != nil {
			return fmt.Errorf("ping %s: %w", alias, err)
		}
		trip := roundTrip{alias, conn.Path(), float64(took.Microseconds()) / 1000}
		text := fmt.Sprintf("%s: %.3f ms, path %s", alias, trip.Milliseconds, trip.Kind)
		if trip.Kind != "relay" { // whose address is a name without a host behind it
			text += ", " + trip.Remote.String()
		}
		if err := p.PrintLine(trip, text); err != nil {
			return err
		}
	}
	return nil
}

// pause waits and reports whether ctx still holds.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
