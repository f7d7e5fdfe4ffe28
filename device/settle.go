package device

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/gate"
)

// settleTime bounds how long the end of a session waits for answers.
const settleTime = 500 * time.Millisecond

// changes counts what a peer is changing on the device and was not answered yet.
// Who ends its own rights by a change must hear that the change was made, so the
// end of its session waits for the answer.
type changes struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n is 0 again; nil while it is
}

func (c *changes) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == 1 {
		c.none = make(chan struct{})
	}
}

func (c *changes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		close(c.none)
		c.none = nil
	}
}

// settle waits until nothing is being changed, for settleTime at most.
func (c *changes) settle() {
	c.mu.Lock()
	none := c.none
	c.mu.Unlock()
	if none == nil {
		return
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-none:
	case <-timer.C:
	}
}

// answerOwn runs one of the device's own operations. Those are short, and what
// they have changed is changed: nothing ends them half way.
func (p *peer) answerOwn(ctx context.Context, op operation, pass gate.Pass, r *coap.Request) *coap.Response {
	if r.Code == coap.GET || r.Code == coap.FETCH {
		return op.run(ctx, pass, r)
	}
	p.changes.begin()
	defer p.changes.end()
	answer := op.run(ctx, pass, r)
	r.Answer(answer)
	p.reviewTransfers() // what is left to send of it may be nothing for the peer any more
	return answer
}
