package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/rendezvous"
	"github.com/latchkey-dev/latchkey/internal/route"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// introduceTime bounds an introduction and the handshake that follows.
const introduceTime = 15 * time.Second

// An introduction is one meeting with a device by way of its basestation, and
// the session that comes of it or that it brings new paths.
type introduction struct {
	base    *base
	release func() // of base
	dev     Device
	id      signal.SessionID
	meeting *rendezvous.Meeting
	carrier *route.Carrier
	via     Via
	granted atomic.Bool // a relay
	again   bool        // this is the second try; of introduce
	fresh   bool        // the leg was just made; of introduce
	deaf    bool        // the basestation is; of introduce

	receiver rendezvous.Receiver

	answer  chan *signal.Answer // the first one
	closing sync.Once
}

// introduce asks the device's basestation for an introduction, for the running
// session of that name or a new one, and begins to look for paths. What comes by
// them goes where prepare says. It returns when the device's offer is there;
// paths may be up before.
func (c *Client) introduce(ctx context.Context, dev Device, o DialOptions, carrier *route.Carrier, resume []byte, prepare func(*rendezvous.Receiver)) (*introduction, error) {
	for again := false; ; again = true {
		b, release, err := c.base(dev)
		if err != nil {
			return nil, err
		}
		i := &introduction{
			base: b, release: release, dev: dev, carrier: carrier, via: o.Via, again: again, answer: make(chan *signal.Answer, 1),
		}
		_, _ = rand.Read(i.id[:]) // never fails (crypto/rand)
		prepare(&i.receiver)
		if err = i.begin(ctx, o, resume); err == nil {
			return i, nil
		}
		i.close()
		if again || !errors.Is(err, errDeaf) {
			return nil, err
		}
	}
}

// errDeaf reports a leg from before on which the basestation does not answer
// any more: it was restarted, or a NAT has forgotten us.
var errDeaf = errors.New("the basestation does not answer any more")

// call sends a request to the basestation. One over a leg that does not answer
// a ping ends with errDeaf, and the leg is not used again.
func (i *introduction) call(ctx context.Context, leg *uplink.Uplink, path string, ask, got signal.Message) error {
	if i.again || i.fresh {
		return uplink.Call(ctx, leg.CoAP(), coap.POST, path, ask, got)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() { // ends with the answer to a ping, when they had their time, or with the call
		defer close(watched)
		if !leg.Answers(ctx) && ctx.Err() == nil {
			i.deaf = true
			i.base.distrust(leg)
			cancel(errDeaf)
		}
	}()
	err := uplink.Call(ctx, leg.CoAP(), coap.POST, path, ask, got)
	cancel(nil)
	<-watched
	if err != nil && i.deaf {
		return errDeaf
	}
	i.deaf = false
	return err
}

func (i *introduction) begin(ctx context.Context, o DialOptions, resume []byte) error {
	c := i.base.client
	leg, fresh, err := i.base.connect(ctx)
	if err != nil {
		return atBasestation(err)
	}
	i.fresh = fresh
	identity, err := c.OpenIdentity()
	if err != nil {
		return err
	}
	i.meeting, err = rendezvous.New(rendezvous.Config{
		Identity: identity, Device: i.dev.ID, Role: signal.RoleClient, Session: i.id,
		Hub: i.base.network.hub, Uplink: leg, Carrier: i.carrier, Servers: rendezvous.Servers(leg, nil),
		Only: i.via.only(), Deliver: i.receiver.Deliver, Log: c.logger(),
	})
	if err != nil {
		return err
	}
	offer, err := i.meeting.Offer(resume)
	if err != nil {
		return err
	}
	ask := &signal.Connect{ID: i.dev.ID, SCT: i.dev.Token.Reveal(), Wait: o.Wait, Offer: *offer}
	if o.JWT != "" {
		ask.SCT, ask.JWT = "", o.JWT
	}
	if !o.Token.IsZero() {
		ask.SCT, ask.JWT = o.Token.Reveal(), ""
	}
	if ask.SCT == "" && ask.JWT == "" {
		return atBasestation(ErrNoToken)
	}
	i.base.mu.Lock()
	i.base.meeting[i.id] = i
	i.base.mu.Unlock()
	var got signal.Connected
	if err := i.call(ctx, leg, signal.PathConnect, ask, &got); err != nil {
		return atBasestation(err)
	}
	i.meeting.Known()
	c.logger().Debug("introduction granted", "device", i.dev.Alias)
	if err := i.useRelay(got.Relay); err != nil {
		return err
	}
	return i.meet(ctx, leg)
}

// useRelay takes what the basestation grants, if that is wanted.
func (i *introduction) useRelay(g *signal.Grant) error {
	if g == nil || i.via == ViaDirect {
		return nil
	}
	i.granted.Store(true)
	return i.meeting.UseRelay(g)
}

// meet waits for the device's offer and starts with it.
func (i *introduction) meet(ctx context.Context, leg *uplink.Uplink) error {
	var a *signal.Answer
	select {
	case a = <-i.answer:
	case <-leg.Context().Done():
		return atBasestation(context.Cause(leg.Context()))
	case <-ctx.Done():
		return atBasestation(fmt.Errorf("the device does not answer: %w", context.Cause(ctx)))
	}
	if a.Offer == nil {
		return atBasestation(fmt.Errorf("no introduction: %w", a.Code.Err()))
	}
	key, err := a.Offer.Verify(signal.RoleDevice, i.id, i.dev.ID)
	if err != nil {
		return err
	}
	if key != i.dev.Key {
		return &latchkey.IdentityError{Device: i.dev.Alias, Got: key, Want: []latchkey.Fingerprint{i.dev.Key}}
	}
	i.base.client.logger().Debug("device answered", "device", i.dev.Alias)
	if err := i.useRelay(a.Relay); err != nil {
		return err
	}
	if i.via == ViaRelay {
		return nil
	}
	return i.meeting.Begin(a.Offer)
}

// answered takes the device's answer, once.
func (i *introduction) answered(a *signal.Answer) {
	select {
	case i.answer <- a:
	default:
	}
}

// close ends the meeting. It may be called again.
func (i *introduction) close() {
	i.closing.Do(func() {
		i.base.mu.Lock()
		delete(i.base.meeting, i.id)
		i.base.mu.Unlock()
		switch {
		case i.meeting == nil:
		case i.deaf:
			i.meeting.Close()
		default:
			i.meeting.Leave()
		}
		i.release()
	})
}

// waitAgain is the pause before a basestation is asked again for a device that
// is away.
const waitAgain = time.Second

// attend is openRemote until the device is there, if o says so: beyond what the
// basestation lets us wait, and across its restarts.
func (c *Client) attend(ctx context.Context, dev Device, o DialOptions) (*link, error) {
	for away := false; ; {
		l, err := c.openRemote(ctx, dev, o)
		switch {
		case err == nil || !o.Wait || ctx.Err() != nil:
			return l, err
		case errors.Is(err, latchkey.ErrOffline), errors.Is(err, latchkey.ErrShutdown),
			errors.Is(err, session.ErrEnded), errors.Is(err, session.ErrSilent):
			away = true
		case !away || !errors.Is(err, uplink.ErrUnreachable):
			return nil, err
		}
		wait(ctx, waitAgain)
	}
}

// openRemote makes a session with a device by way of its basestation.
func (c *Client) openRemote(ctx context.Context, dev Device, o DialOptions) (*link, error) {
	identity, err := c.OpenIdentity()
	if err != nil {
		return nil, err
	}
	if !o.Wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, introduceTime)
		defer cancel()
	}
	carrier := route.NewCarrier()
	var proven atomic.Bool
	h := secure.NewClient(secure.Config{Identity: identity, Log: c.logger(), Verify: func(p secure.Peer) error {
		if p.Key != dev.Key {
			return &latchkey.IdentityError{Device: dev.Alias, Got: p.Key, Want: []latchkey.Fingerprint{dev.Key}}
		}
		proven.Store(true)
		return nil
	}}, carrier.Send)
	i, err := c.introduce(ctx, dev, o, carrier, nil, func(r *rendezvous.Receiver) { r.Handshake = h })
	if err != nil {
		return nil, err
	}
	conn, err := i.shake(ctx, h)
	if err != nil {
		i.close()
		if proven.Load() && errors.Is(err, latchkey.ErrHandshakeRefused) {
			err = &refusedError{err}
		}
		return nil, err
	}
	c.logger().Debug("session up", "device", dev.Alias)
	l := c.newLink(conn, dev, carrier, o)
	l.adopted = i
	i.receiver.Attach(l.session)
	l.serve(func() {})
	return l, nil
}

// shake performs the handshake as soon as there is a path.
func (i *introduction) shake(ctx context.Context, h *secure.Handshake) (*secure.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, introduceTime)
	defer cancel()
	select {
	case <-i.meeting.Up():
	case <-ctx.Done():
		return nil, &pathError{i.via, i.granted.Load(), i.meeting.RelayErr(), context.Cause(ctx)}
	}
	return h.Run(ctx)
}
