package device

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// A running request can be judged again, and answered before what runs for it
// has returned.
type running struct {
	req      *coap.Request
	action   acl.Action
	resource string
	cancel   context.CancelCauseFunc
	reviews  turn
}

// requests are those of one peer that the door let through and that still run.
// The device's own operations are not among them: they are short, and what they
// have changed is changed.
type requests struct {
	mu   sync.Mutex
	live map[*running]struct{}
}

func (t *requests) add(o *running) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[*running]struct{})
	}
	t.live[o] = struct{}{}
}

func (t *requests) remove(o *running) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, o)
}

func (t *requests) all() []*running {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*running, 0, len(t.live))
	for o := range t.live {
		all = append(all, o)
	}
	return all
}

// revocable runs an operation of an application or a route, whose answer goes out
// only as long as the peer may have it. changed is from before the door was
// asked.
func (p *peer) revocable(ctx context.Context, op operation, pass gate.Pass, r *coap.Request, changed <-chan struct{}) *coap.Response {
	o := &running{req: r, action: op.action, resource: op.resource}
	ctx, o.cancel = context.WithCancelCause(ctx)
	defer o.cancel(nil)
	p.requests.add(o)
	defer p.requests.remove(o)
	select {
	case <-changed:
		if err := p.srv.door.again(ctx, p.question(op.action, op.resource)); err != nil {
			return refuse(err)
		}
	default:
	}
	return op.run(ctx, pass, r)
}

// judgeRequest answers a running request if the door would refuse it now, even
// if what runs for it goes on.
func (p *peer) judgeRequest(ctx context.Context, o *running) {
	if err := p.srv.door.again(ctx, p.question(o.action, o.resource)); err != nil {
		o.req.Answer(refuse(err)) // before the handler can
		o.cancel(err)
		p.requests.remove(o) // what runs for it may go on, and is no request any more
		p.revoked(o.action, o.resource, err)
	}
}

// judgeTransfer says what ends a block transfer; nil lets it go on.
func (p *peer) judgeTransfer(ctx context.Context, r *coap.Request) *coap.Response {
	path, err := cleanPath(r.Path)
	if err != nil {
		return nil // refused when it is whole, and nobody has read it
	}
	op, _, err := p.name(path, r)
	if err != nil {
		return nil
	}
	if err := p.srv.door.again(ctx, p.question(op.action, op.resource)); err != nil {
		p.revoked(op.action, op.resource, err)
		return refuse(err)
	}
	return nil
}
