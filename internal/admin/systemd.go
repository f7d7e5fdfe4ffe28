package admin

import (
	"context"
	"log/slog"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// A notifier tells systemd how the daemon fares (sd_notify(3)). Without systemd
// it does nothing.
type notifier struct{}

func (notifier) send(state string) {
	_, _ = systemd.SdNotify(false, state) // nothing can be done about a deaf supervisor
}

// ready carries what systemctl status is to show.
func (n notifier) ready(status string) { n.send(systemd.SdNotifyReady + "\nSTATUS=" + status) }

// reloading carries the time that systemd wants to see in it (Type=notify-reload).
func (n notifier) reloading() {
	n.send(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
}

func (n notifier) reloaded() { n.send(systemd.SdNotifyReady) }
func (n notifier) stopping() { n.send(systemd.SdNotifyStopping) }

// watchdog reports life for as long as check succeeds, until ctx ends. It
// returns at once when systemd does not ask for it.
func (n notifier) watchdog(ctx context.Context, check func(context.Context) error, log *slog.Logger) {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil || limit <= 0 {
		return
	}
	tick := time.NewTicker(limit / 2) // sd_watchdog_enabled(3) advises half of it
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bounded, cancel := context.WithTimeout(ctx, limit/4)
		err := check(bounded)
		cancel()
		if err != nil && ctx.Err() == nil {
			log.Error("self-check", "err", err)
			continue // systemd restarts a daemon that stays silent
		}
		n.send(systemd.SdNotifyWatchdog)
	}
}
