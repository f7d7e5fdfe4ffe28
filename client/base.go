package client

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

const (
	// keepBase is how long the leg to a basestation is kept warm after its last
	// use, so that the next Dial needs no handshake.
	keepBase = time.Minute
	// dialBase bounds reaching a basestation.
	dialBase = 15 * time.Second
)

// A base is what a client has to do with one basestation.
type base struct {
	client  *Client
	key     latchkey.Fingerprint
	network *network // of the client, as long as there are bases

	ctx    context.Context // ends when the client drops it
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	addrs    []string
	leg      *uplink.Uplink
	dialling *dialling // nil while nobody dials
	doubted  bool      // our network has changed since leg was made
	users    int
	gone     bool        // the client has dropped it
	idle     *time.Timer // ends the leg, while there are no users
	meeting  map[signal.SessionID]*introduction
}

// base returns the basestation of a device, in use until release is called. The
// leg to it is dialled when it is needed.
func (c *Client) base(dev Device) (b *base, release func(), err error) {
	if len(dev.Basestations) == 0 || dev.BasestationKey.IsZero() {
		return nil, nil, atBasestation(ErrNoBasestation)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, net.ErrClosed
	}
	if c.network == nil {
		if c.network, err = openNetwork(c.logger(), c.moved, nil); err != nil {
			return nil, nil, err
		}
	}
	if b = c.bases[dev.BasestationKey]; b == nil {
		b = &base{client: c, key: dev.BasestationKey, network: c.network, meeting: make(map[signal.SessionID]*introduction)}
		b.ctx, b.cancel = context.WithCancel(context.Background())
		if c.bases == nil {
			c.bases = make(map[latchkey.Fingerprint]*base)
		}
		c.bases[b.key] = b
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs = slices.Clone(dev.Basestations)
	b.users++
	if b.idle != nil {
		b.idle.Stop()
		b.idle = nil
	}
	return b, sync.OnceFunc(b.release), nil
}

// release counts a user out. The last one leaves the leg to be closed later.
func (b *base) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users == 0 && !b.gone {
		b.idle = time.AfterFunc(keepBase, func() { b.client.drop(b) })
	}
}

// drop closes a basestation that nobody uses, and the socket after the last.
func (c *Client) drop(b *base) {
	c.mu.Lock()
	b.mu.Lock()
	if b.users > 0 && !c.closed || c.bases[b.key] != b {
		b.mu.Unlock()
		c.mu.Unlock()
		return
	}
	delete(c.bases, b.key)
	leg := b.leg
	b.leg, b.gone = nil, true
	b.cancel()
	b.mu.Unlock()
	var network *network
	if len(c.bases) == 0 {
		network, c.network = c.network, nil
	}
	c.mu.Unlock()
	if leg != nil {
		leg.Close()
	}
	if network != nil {
		network.close()
	}
}

// Close ends what the client keeps warm for the next Dial. Connections are
// closed by their own Close, which comes first. A closed Client dials no more
// by way of basestations.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	list := make([]*base, 0, len(c.bases))
	for _, b := range c.bases {
		list = append(list, b)
	}
	c.mu.Unlock()
	for _, b := range list {
		b.mu.Lock()
		if b.idle != nil {
			b.idle.Stop()
		}
		b.mu.Unlock()
		c.drop(b)
	}
	c.background.close()
	return nil
}

// moved is called when the machine has other addresses: legs are dialled anew
// before their next use, and sessions look for new paths.
func (c *Client) moved() {
	c.mu.Lock()
	for _, b := range c.bases {
		b.mu.Lock()
		b.doubted = true
		b.mu.Unlock()
	}
	links := slices.Clone(c.roaming)
	c.mu.Unlock()
	for _, r := range links {
		r.moved()
	}
}

// connect returns the leg, dialled if there is none that answers; then it is
// fresh. Whoever stops waiting leaves the dialling to go on: it has cost the
// basestation something already, and the leg is soon of use.
func (b *base) connect(ctx context.Context) (leg *uplink.Uplink, fresh bool, err error) {
	b.mu.Lock()
	if b.leg != nil && b.leg.Context().Err() == nil && !b.doubted {
		defer b.mu.Unlock()
		return b.leg, false, nil
	}
	d := b.dialling
	if d == nil {
		d = &dialling{done: make(chan struct{})}
		if b.gone || !b.client.background.run(func() { b.dial(d) }) {
			b.mu.Unlock()
			return nil, false, net.ErrClosed
		}
		b.dialling, b.doubted = d, false
	}
	b.mu.Unlock()
	select {
	case <-d.done:
		return d.leg, true, d.err
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

// A dialling is one try to reach a basestation.
type dialling struct {
	done chan struct{} // closed when what follows is set
	leg  *uplink.Uplink
	err  error
}

// dial makes a leg in place of the one before.
func (b *base) dial(d *dialling) {
	ctx, cancel := context.WithTimeout(b.ctx, dialBase)
	defer cancel()
	b.mu.Lock()
	before, addrs := b.leg, b.addrs
	b.mu.Unlock()
	identity, err := b.client.OpenIdentity()
	if err == nil {
		d.leg, err = uplink.Dial(ctx, uplink.Config{
			Identity: identity, Addrs: addrs, Key: b.key, Socket: b.network, Handler: b.serve, Log: b.client.logger(),
		})
	}
	if before != nil {
		go before.Close() // ends by itself; its goodbye may have nowhere to go
	}
	b.mu.Lock()
	b.dialling = nil
	if err == nil && b.gone {
		b.mu.Unlock()
		d.leg.Close()
		d.leg, d.err = nil, net.ErrClosed
		close(d.done)
		return
	}
	b.leg, d.err = d.leg, err
	b.mu.Unlock()
	if err == nil {
		b.client.logger().Debug("basestation reached", "peer", d.leg.Remote(), "op", d.leg.Transport())
	}
	close(d.done)
}

// doubt makes the next connect dial anew unless the leg answers soon.
func (b *base) doubt(ctx context.Context) {
	b.mu.Lock()
	leg := b.leg
	b.mu.Unlock()
	if leg == nil {
		return
	}
	if !leg.Answers(ctx) && ctx.Err() == nil {
		b.distrust(leg)
	}
}

// distrust makes the next connect dial anew, unless it has done so already.
func (b *base) distrust(leg *uplink.Uplink) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubted = b.doubted || b.leg == leg
}

// serve answers what the basestation asks.
func (b *base) serve(_ context.Context, r *coap.Request) *coap.Response {
	if r.Code != coap.POST || len(r.Path) != 1 {
		return uplink.Refuse(latchkey.ErrNotFound)
	}
	switch r.Path[0] {
	case signal.PathAnswer:
		var a signal.Answer
		if err := signal.Unmarshal(r.Body, &a); err != nil {
			return uplink.Refuse(err)
		}
		if i := b.find(a.Session); i != nil {
			i.answered(&a)
			return uplink.Answer(coap.Changed, nil)
		}
	case signal.PathCandidates:
		var c signal.Candidates
		if err := signal.Unmarshal(r.Body, &c); err != nil {
			return uplink.Refuse(err)
		}
		if i := b.find(c.Session); i != nil {
			i.meeting.Candidates(&c)
			return uplink.Answer(coap.Changed, nil)
		}
	}
	return uplink.Refuse(latchkey.ErrNotFound)
}

func (b *base) find(id signal.SessionID) *introduction {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.meeting[id]
}
