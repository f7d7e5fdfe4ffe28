package daemon

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/webhook"
)

// A delegate hands the door's questions to the program that the configuration
// names at present.
type delegate struct {
	log    *slog.Logger
	client atomic.Pointer[webhook.Client]
}

// newDelegate returns nil when the policies decide.
func newDelegate(a Authorize, log *slog.Logger) (*delegate, error) {
	if a.Webhook == "" {
		return nil, nil
	}
	d := &delegate{log: log}
	return d, d.set(a)
}

// set makes a the one to ask. Questions under way are answered by the one before.
// Whether anybody is asked at all is decided at the start: a nil delegate and an
// a without webhook change nothing.
func (d *delegate) set(a Authorize) error {
	if d == nil || a.Webhook == "" {
		return nil
	}
	client, err := a.open(d.log)
	if err != nil {
		return err
	}
	if before := d.client.Swap(client); before != nil {
		return before.Close()
	}
	return nil
}

// authorize is a device.AuthorizeFunc.
func (d *delegate) authorize(ctx context.Context, r *acl.Request) error {
	return d.client.Load().Ask(ctx, r)
}

// close lets go of the program.
func (d *delegate) close() error {
	if d == nil {
		return nil
	}
	return d.client.Load().Close()
}
