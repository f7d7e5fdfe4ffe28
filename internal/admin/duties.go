package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
)

// Duties are what a daemon does beside its work, from the moment it serves.
type Duties struct {
	Socket net.Listener // the control socket; closed at the end
	Do     func(ctx context.Context, op string, in []byte) ([]byte, error)

	Reload <-chan os.Signal // each value asks for a reload; nil: never
	Apply  func() error     // makes the files on disk the present configuration; an error means that nothing was changed

	Check  func(context.Context) error // fails when the daemon is not well
	Status string                      // what systemctl status shows
	Ready  func()                      // called when administrators are answered
	Log    *slog.Logger
}

// Run does the duties: all of them until ctx ends, when the daemon begins to
// stop, and those towards administrators until serving ends, when it has
// stopped. It returns after everything that it started has ended.
func (d Duties) Run(ctx, serving context.Context) {
	control := startServer(serving, d.Socket, d.Do, d.Log)
	var supervisor notifier
	var work sync.WaitGroup
	work.Go(func() { d.reloads(ctx, supervisor) })
	work.Go(func() { supervisor.watchdog(ctx, d.Check, d.Log) })
	supervisor.ready(d.Status)
	d.Ready()
	<-ctx.Done()
	supervisor.stopping()
	d.Log.Info("stopping")
	work.Wait()
	<-serving.Done()
	control.stop()
}

// reloads answers every request to reload until ctx ends.
func (d Duties) reloads(ctx context.Context, supervisor notifier) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Reload:
			supervisor.reloading()
			if err := d.Apply(); err != nil {
				d.Log.Error("reload: nothing was changed", "err", err)
			} else {
				d.Log.Info("reloaded")
			}
			supervisor.reloaded()
		}
	}
}

// SelfCheck takes the way of an administrator's command: through the control
// socket of dir to the operation op, whose answer correct judges.
func SelfCheck[Out any](ctx context.Context, dir, op string, correct func(Out) bool) error {
	b, err := Dial(ctx, dir)
	if err != nil {
		return err
	}
	defer b.Close()
	out, err := Call[Out](ctx, b, op, None{})
	if err == nil && !correct(out) {
		err = errors.New("the control socket leads to another daemon")
	}
	return err
}
