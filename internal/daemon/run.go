package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// Options is what Run needs beside the files.
type Options struct {
	Dir   string
	Log   *slog.Logger
	Level *slog.LevelVar // of Log; set from the configuration unless nil

	Ready  func(Ready)      // called once, when the daemon serves
	Reload <-chan os.Signal // each value asks for a reload; nil: never
}

// Ready is what a daemon says when it serves.
type Ready struct {
	Listen      string               `json:"listen"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
}

// A daemon is one Run.
type daemon struct {
	Options
	config  atomic.Pointer[Config]
	dev     *device.Device
	admin   *admin
	systemd notifier
}

// Run runs the daemon on o.Dir until ctx ends, and returns nil after everything
// it started has ended. Any other return is a failure to start or to go on.
func Run(ctx context.Context, o Options) error {
	if err := refuseSecond(ctx, o.Dir); err != nil {
		return err
	}
	d := &daemon{Options: o}
	config, err := LoadConfig(o.Dir)
	if err != nil {
		return missing(err, o.Dir)
	}
	d.adopt(config)
	identity, err := OpenIdentity(o.Dir)
	if err != nil {
		return err
	}
	access, err := acl.Open(filepath.Join(o.Dir, device.AccessFile))
	if err != nil {
		return missing(err, o.Dir)
	}
	err = d.serve(ctx, identity, access)
	return errors.Join(err, access.Close())
}

// refuseSecond fails when a daemon answers on the control socket of dir. The
// lock on access.db refuses as well, but only after a wait and without saying
// who holds it.
func refuseSecond(ctx context.Context, dir string) error {
	c, err := dialControl(ctx, dir)
	if errors.Is(err, errNoDaemon) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	who := "another daemon"
	if st, err := c.Status(ctx); err == nil {
		who = fmt.Sprintf("another daemon (process %d)", st.PID)
	}
	return &ControlError{Message: who + " runs on " + dir, Next: "latchkeyd status --dir " + dir}
}

// adopt makes c the present configuration.
func (d *daemon) adopt(c *Config) {
	d.config.Store(c)
	if d.Level != nil {
		d.Level.Set(c.Level)
	}
}

func (d *daemon) serve(ctx context.Context, identity *latchkey.Identity, access *acl.Store) error {
	ready := make(chan device.Info, 1)
	d.dev = newDevice(d.config.Load(), identity, access, d.Log)
	d.dev.Ready = func(i device.Info) { ready <- i }
	d.admin = &admin{
		dir: d.Dir, key: identity.Fingerprint(), access: access, log: d.Log,
		config: d.config.Load, dev: d.dev, running: true,
	}
	socket, err := listenSocket(d.Dir)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- d.dev.ListenAndServe(ctx) }() // ends with ctx
	select {
	case info := <-ready:
		d.attend(ctx, cancel, socket, info, ended)
	case err := <-ended: // it never served
		return errors.Join(err, socket.Close())
	}
	return <-ended
}

// attend does everything around the serving device until ctx ends, or until the
// device does.
func (d *daemon) attend(ctx context.Context, cancel context.CancelFunc, socket *guardedListener, info device.Info, ended chan error) {
	control := startControl(ctx, socket, d.admin, d.Log)
	var work sync.WaitGroup
	work.Go(func() { d.reloads(ctx) })
	work.Go(func() { d.systemd.watchdog(ctx, d.selfCheck, d.Log) })
	d.systemd.ready(info)
	d.Log.Info("serving", "device", info.ID.String(), "key", info.Fingerprint, "listen", listenText(info.Addrs))
	if d.Ready != nil {
		d.Ready(Ready{Listen: listenText(info.Addrs), Fingerprint: info.Fingerprint})
	}
	select {
	case <-ctx.Done():
	case err := <-ended:
		ended <- err
	}
	d.systemd.stopping()
	d.Log.Info("stopping")
	cancel()
	control.stop()
	work.Wait()
}
