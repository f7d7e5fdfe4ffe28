package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
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
	config atomic.Pointer[Config]
	hook   *delegate // nil: the policies decide
	dev    *device.Device
	admin  *administrator
}

// Run runs the daemon on o.Dir until ctx ends, and returns nil after everything
// it started has ended. Any other return is a failure to start or to go on.
func Run(ctx context.Context, o Options) error {
	if err := admin.RefuseSecond(ctx, o.Dir, program, opStatus); err != nil {
		return err
	}
	d := &daemon{Options: o}
	config, err := LoadConfig(o.Dir)
	if err != nil {
		return admin.Missing(err, o.Dir, program)
	}
	d.adopt(config)
	identity, err := OpenIdentity(o.Dir)
	if err != nil {
		return err
	}
	access, err := openAccess(o.Dir)
	if err != nil {
		return err
	}
	err = d.serve(ctx, identity, access)
	return errors.Join(err, access.Close())
}

// adopt makes c the present configuration.
func (d *daemon) adopt(c *Config) {
	d.config.Store(c)
	if d.Level != nil {
		d.Level.Set(c.Level)
	}
}

func (d *daemon) serve(ctx context.Context, identity *latchkey.Identity, access *acl.Store) (err error) {
	ready := make(chan device.Info, 1)
	d.dev = newDevice(d.Dir, d.config.Load(), identity, access, d.Log)
	if d.hook, err = newDelegate(d.config.Load().Authorize, d.Log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.hook.close()) }()
	if d.hook != nil {
		d.dev.Authorize = d.hook.authorize
	}
	record, err := openAudit(d.Dir, identity, access, d.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	d.dev.Audit = record.Record
	d.dev.Ready = func(i device.Info) { ready <- i }
	d.admin = &administrator{
		dir: d.Dir, identity: identity, key: identity.Fingerprint(), access: access, audit: record, log: d.Log,
		config: d.config.Load, dev: d.dev, hook: d.hook, running: true,
	}
	socket, err := admin.Listen(d.Dir)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, stopped := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { // ends with ctx
		defer stopped()
		defer cancel()
		ended <- d.dev.ListenAndServe(ctx)
	}()
	select {
	case info := <-ready:
		d.duties(socket, info).Run(ctx, serving)
	case err := <-ended: // it never served
		return errors.Join(err, socket.Close())
	}
	return <-ended
}

// duties is what there is to do around the serving device.
func (d *daemon) duties(socket *admin.Listener, info device.Info) admin.Duties {
	listen := admin.ListenText(info.Addrs)
	return admin.Duties{
		Socket: socket, Do: d.admin.do,
		Reload: d.Reload, Apply: d.reload,
		Check: d.selfCheck, Status: fmt.Sprintf("Serving %s on %s", info.ID, listen), Log: d.Log,
		Ready: func() {
			d.Log.Info("serving", "device", info.ID.String(), "key", info.Fingerprint, "listen", listen)
			if d.Ready != nil {
				d.Ready(Ready{Listen: listen, Fingerprint: info.Fingerprint})
			}
		},
	}
}

// selfCheck fails when an administrator's command would not arrive here.
func (d *daemon) selfCheck(ctx context.Context) error {
	return admin.SelfCheck(ctx, d.Dir, opStatus, func(st Status) bool { return st.Fingerprint == d.admin.key })
}
