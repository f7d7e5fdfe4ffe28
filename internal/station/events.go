package station

import (
	"context"
	"errors"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

type eventRange struct {
	After uint64 `json:"after,omitempty"` // events with higher numbers
	Wait  bool   `json:"wait,omitempty"`  // for at least one, admin.MaxWait at most
}

// Events returns the latest events of the running basestation, oldest first.
func (c *Control) Events(ctx context.Context) ([]basestation.Event, error) {
	return admin.Call[[]basestation.Event](ctx, c.backend, opEventTail, eventRange{})
}

// Follow calls show for the latest events of the running basestation and for all
// that come, until ctx ends, which is no error, the basestation stops, or show
// fails.
func (c *Control) Follow(ctx context.Context, show func(basestation.Event) error) error {
	var in eventRange
	for ; ; in.Wait = true {
		list, err := admin.Call[[]basestation.Event](ctx, c.backend, opEventTail, in)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, admin.ErrEnded) {
			return errStopped
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := show(e); err != nil {
				return err
			}
			in.After = e.Seq
		}
	}
}

func (a *administrator) tail(ctx context.Context, in eventRange) ([]basestation.Event, error) {
	if a.server == nil {
		return nil, admin.Fail(nil, program+" run --dir "+a.dir, "no basestation runs on %s, and events are kept by the one that runs", a.dir)
	}
	if in.Wait {
		if err := a.await(ctx, in.After); err != nil {
			return nil, err
		}
	}
	all, err := a.server.Events()
	if errors.Is(err, basestation.ErrNotServing) {
		return nil, errStopped
	}
	list := []basestation.Event{}
	for _, e := range all {
		if e.Seq > in.After {
			list = append(list, e)
		}
	}
	return list, err
}

// errStopped ends those who follow events.
var errStopped = errors.New("the basestation has stopped")

// await returns when there is an event after the one numbered seq, and after
// admin.MaxWait.
func (a *administrator) await(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, admin.MaxWait)
	defer cancel()
	events, err := a.server.Tail(ctx, seq)
	if err != nil {
		return errStopped
	}
	for range events {
		return nil
	}
	return nil
}
