package daemon

import (
	"context"
	"os"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// A Status is what a directory holds and what the daemon on it does.
type Status struct {
	Running     bool                   `json:"running"`
	PID         int                    `json:"pid,omitempty"`
	Since       time.Time              `json:"since,omitzero"`
	ID          latchkey.DeviceID      `json:"id"`
	Name        string                 `json:"name"`
	Fingerprint latchkey.Fingerprint   `json:"fingerprint"`
	Listen      string                 `json:"listen"`
	Basestation Attachment             `json:"basestation"`
	Pairing     []string               `json:"pairing"` // modes that are open, or would be if the daemon ran
	Users       int                    `json:"users"`
	Keys        int                    `json:"keys"`
	Services    []device.Service       `json:"services"`
	Sessions    []device.SessionStatus `json:"sessions"`
}

// Status tells what the daemon does.
func (c *Control) Status(ctx context.Context) (Status, error) {
	return admin.Call[Status](ctx, c.backend, opStatus, admin.None{})
}

// Services lists the services.
func (c *Control) Services(ctx context.Context) ([]device.Service, error) {
	return admin.Call[[]device.Service](ctx, c.backend, opServices, admin.None{})
}

func (a *administrator) status(context.Context, admin.None) (Status, error) {
	config := a.config()
	st := Status{
		ID: a.dev.DeviceID(a.key), Name: a.present(), Fingerprint: a.key, Listen: config.Listen,
		Basestation: a.attachment(nil),
		Services:    nonNil(config.Services), Sessions: []device.SessionStatus{}, Pairing: a.modes().Names(),
	}
	if a.running {
		live, err := a.dev.Status()
		if err != nil {
			return st, err
		}
		st.Running, st.PID, st.Since = true, os.Getpid(), live.Since
		st.Listen = admin.ListenText(live.Addrs)
		st.Services, st.Sessions = live.Services, live.Sessions
		st.Basestation = a.attachment(&live.Attach)
	}
	err := a.access.View(func(tx *acl.Tx) error {
		st.Users, st.Keys = count(tx)
		return nil
	})
	return st, err
}

// count returns how many users and keys there are.
func count(tx *acl.Tx) (users, keys int) {
	for _, u := range tx.Users() {
		users++
		keys += len(tx.Keys(u.Name))
	}
	return users, keys
}

func (a *administrator) services(context.Context, admin.None) ([]device.Service, error) {
	if !a.running {
		return nonNil(a.config().Services), nil
	}
	live, err := a.dev.Status()
	return live.Services, err
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
