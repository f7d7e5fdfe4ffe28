package station

import (
	"context"
	"errors"
	"os"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// A Status is what a directory holds and what the basestation on it does.
type Status struct {
	Running     bool                 `json:"running"`
	PID         int                  `json:"pid,omitempty"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	Listen      string               `json:"listen"`
	PublicAddrs []string             `json:"public_addresses"`
	Issuers     []string             `json:"issuers"`
	Devices     int                  `json:"devices"` // that may attach
	Tokens      int                  `json:"tokens"`  // of the operator's
	Serving     *basestation.Status  `json:"serving,omitempty"`
}

// Status tells what the basestation does.
func (c *Control) Status(ctx context.Context) (Status, error) {
	return admin.Call[Status](ctx, c.backend, opStatus, admin.None{})
}

func (a *administrator) status(context.Context, admin.None) (Status, error) {
	config := a.config()
	st := Status{
		Fingerprint: a.identity.Fingerprint(), Listen: config.Listen, PublicAddrs: nonNil(config.PublicAddrs),
		Issuers: []string{}, Devices: len(a.registry.Devices()), Tokens: len(a.registry.Tokens()),
	}
	for _, is := range config.Issuers {
		st.Issuers = append(st.Issuers, is.Issuer)
	}
	if a.server == nil {
		return st, nil
	}
	st.Running, st.PID = true, os.Getpid()
	live, err := a.server.Status()
	if errors.Is(err, basestation.ErrNotServing) {
		return st, nil // it is about to end
	}
	st.Serving, st.Listen, st.PublicAddrs = &live, admin.ListenText(live.Addrs), nonNil(live.PublicAddrs)
	return st, err
}
