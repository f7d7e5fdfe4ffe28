package daemon

import (
	"context"

	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

// rename is a name to store; nil asks which it is.
type rename struct {
	Name *string `json:"name,omitempty"`
}

// Name returns the device's name for people, "" if it has none.
func (c *Control) Name(ctx context.Context) (string, error) {
	out, err := admin.Call[named](ctx, c.backend, opName, rename{})
	return out.Name, err
}

// SetName stores the device's name for people, which wins over the configured one.
// "" gives that back.
func (c *Control) SetName(ctx context.Context, name string) error {
	_, err := admin.Call[named](ctx, c.backend, opName, rename{&name})
	return err
}

func (a *administrator) name(_ context.Context, in rename) (named, error) {
	if in.Name == nil {
		return named{a.present()}, nil
	}
	_, err := act(a, help{}, func(r *roster.Roster) error { return r.SetName(console, *in.Name) })
	if err == nil && a.running {
		err = a.dev.SetName(a.config().Name) // which tells the network the one that holds
	}
	return named{a.present()}, err
}

// present is the name that holds: the stored or the configured one.
func (a *administrator) present() string {
	if stored := roster.Name(a.access); stored != "" {
		return stored
	}
	return a.config().Name
}
