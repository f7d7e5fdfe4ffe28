package station

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// Options is what Run needs beside the files.
type Options struct {
	Dir   string
	Log   *slog.Logger
	Level *slog.LevelVar // of Log; set from the configuration unless nil

	Ready  func(Ready)      // called once, when the basestation serves
	Reload <-chan os.Signal // each value asks for a reload; nil: never
}

// Ready is what a basestation says when it serves.
type Ready struct {
	Listen      string               `json:"listen"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
}

// A daemon is one Run.
type daemon struct {
	Options
	config atomic.Pointer[Config]
	server *basestation.Server
	admin  *administrator
}

// Run runs the basestation on o.Dir until ctx ends and its peers had their time
// to move, and returns nil after everything it started has ended. Any other
// return is a failure to start or to go on.
func Run(ctx context.Context, o Options) error {
	if err := admin.RefuseSecond(ctx, o.Dir, program, opStatus); err != nil {
		return err
	}
	a, err := openAdmin(o.Dir, o.Log)
	if err != nil {
		return err
	}
	d := &daemon{Options: o, admin: a}
	d.adopt(a.config())
	a.config = d.config.Load
	err = d.serve(ctx)
	return errors.Join(err, a.Close())
}

// adopt makes c the present configuration.
func (d *daemon) adopt(c *Config) {
	d.config.Store(c)
	if d.Level != nil {
		d.Level.Set(c.Level)
	}
}

func (d *daemon) serve(ctx context.Context) error {
	config := d.config.Load()
	ready := make(chan basestation.Info, 1)
	d.server = &basestation.Server{
		Identity: d.admin.identity, Registry: d.admin.registry,
		Addr: config.Listen, PublicAddrs: config.PublicAddrs, Issuers: config.Issuers,
		MetricsFrom: config.MetricsFrom, Limits: config.Limits, Logger: d.Log,
		Ready: func(i basestation.Info) { ready <- i },
	}
	d.admin.server = d.server
	socket, err := admin.Listen(d.Dir)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, stopped := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { // ends with ctx, after the peers had their time
		defer stopped()
		defer cancel()
		ended <- d.server.ListenAndServe(ctx)
	}()
	select {
	case info := <-ready:
		d.duties(socket, info).Run(ctx, serving)
	case err := <-ended: // it never served
		return errors.Join(err, socket.Close())
	}
	return <-ended
}

// duties is what there is to do around the serving basestation.
func (d *daemon) duties(socket *admin.Listener, info basestation.Info) admin.Duties {
	listen := admin.ListenText(info.Addrs)
	return admin.Duties{
		Socket: socket, Do: d.admin.Do,
		Reload: d.Reload, Apply: d.reload,
		Check: d.selfCheck, Status: "Serving on " + listen, Log: d.Log,
		Ready: func() {
			d.Log.Info("serving", "key", info.Fingerprint, "listen", listen)
			if d.Ready != nil {
				d.Ready(Ready{Listen: listen, Fingerprint: info.Fingerprint})
			}
		},
	}
}

// selfCheck fails when an administrator's command would not arrive here.
func (d *daemon) selfCheck(ctx context.Context) error {
	key := d.admin.identity.Fingerprint()
	return admin.SelfCheck(ctx, d.Dir, opStatus, func(st Status) bool { return st.Fingerprint == key })
}
