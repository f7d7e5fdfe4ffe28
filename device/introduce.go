package device

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// introTime bounds an introduction until the client is heard.
const introTime = 20 * time.Second

// refusalTime is how long the paths of a refused client are kept.
const refusalTime = 250 * time.Millisecond

// An introduction is one meeting with a client, and the session that comes of
// it or that it brings new paths.
type introduction struct {
	att      *attachment
	id       signal.SessionID
	key      latchkey.Fingerprint // that signed the offer
	meeting  *rendezvous.Meeting
	carrier  *route.Carrier
	receiver rendezvous.Receiver
	number   int // of those for one session, in their order

	replacing sync.Once
	replaced  chan struct{} // closed when other paths have taken over
	closing   sync.Once
}

// serve answers what the basestation asks.
func (a *attachment) serve(ctx context.Context, r *coap.Request) *coap.Response {
	if r.Code != coap.POST || len(r.Path) != 1 {
		return uplink.Refuse(latchkey.ErrNotFound)
	}
	switch r.Path[0] {
	case signal.PathIntroduce:
		var in signal.Introduce
		if err := signal.Unmarshal(r.Body, &in); err != nil {
			return uplink.Refuse(err)
		}
		out, err := a.introduce(&in)
		if err != nil {
			a.srv.log.Warn("introduction refused", "op", "introduce", "peer", in.Client, "code", latchkey.CodeOf(err), "err", err)
			return uplink.Refuse(err)
		}
		return uplink.Answer(coap.Created, out)
	case signal.PathCandidates:
		var c signal.Candidates
		if err := signal.Unmarshal(r.Body, &c); err != nil {
			return uplink.Refuse(err)
		}
		i := a.find(c.Session)
		if i == nil {
			return uplink.Refuse(latchkey.ErrNotFound)
		}
		i.meeting.Candidates(&c)
		return uplink.Answer(coap.Changed, nil)
	}
	return uplink.Refuse(latchkey.ErrNotFound)
}

// introduce decides on an introduction and makes our half of it. Nothing the
// basestation says about the client counts: its offer is signed.
func (a *attachment) introduce(in *signal.Introduce) (*signal.Introduced, error) {
	now := time.Now()
	if !a.budget.any(now) {
		return nil, fmt.Errorf("%w: introductions", latchkey.ErrTooMany)
	}
	key, err := in.Offer.Verify(signal.RoleClient, in.Session, a.srv.id)
	if err != nil {
		return nil, err
	}
	if !a.budget.of(key, now) {
		return nil, fmt.Errorf("%w: introductions of this client", latchkey.ErrTooMany)
	}
	if err := a.srv.admits(key, false); err != nil {
		return nil, err
	}
	i := &introduction{att: a, id: in.Session, key: key, replaced: make(chan struct{})}
	var p *peer
	if len(in.Offer.Resume) > 0 {
		if p = a.srv.running(session.ID(in.Offer.Resume), key); p == nil {
			return nil, fmt.Errorf("%w: the session to go on with", latchkey.ErrNotFound)
		}
		i.carrier = p.carrier
		i.receiver.Attach(p.sess)
	} else {
		i.carrier = route.NewCarrier()
		i.receiver.Handshake = secure.NewServer(secure.Config{
			Identity: a.srv.identity, Verify: i.verify, ALPN: []string{secure.Protocol}, Proven: true, Log: a.srv.log,
		}, i.carrier.Send)
	}
	out, err := a.meet(i, in)
	if err != nil {
		return nil, err
	}
	if p != nil {
		p.adopt(i)
	} else if !a.srv.work.run(i.run) {
		i.close()
		return nil, latchkey.ErrShutdown
	}
	return out, nil
}

// meet makes the meeting of i and our offer.
func (a *attachment) meet(i *introduction, in *signal.Introduce) (*signal.Introduced, error) {
	leg, err := a.reserve(in.Session)
	if err != nil {
		return nil, err
	}
	i.meeting, err = rendezvous.New(rendezvous.Config{
		Identity: a.srv.identity, Device: a.srv.id, Role: signal.RoleDevice, Session: in.Session,
		Hub: a.srv.hub, Uplink: leg, Carrier: i.carrier, Relay: in.Relay, Servers: rendezvous.Servers(leg, in.Servers),
		Deliver: i.receiver.Deliver, Log: a.srv.log,
	})
	if err != nil {
		a.forget(in.Session)
		return nil, err
	}
	i.meeting.Known() // it told us
	offer, err := i.meeting.Offer(nil)
	if err == nil {
		err = i.meeting.Begin(&in.Offer)
	}
	if err != nil {
		i.meeting.Close()
		a.forget(in.Session)
		return nil, err
	}
	a.mu.Lock()
	a.open[i.id] = i
	a.mu.Unlock()
	return &signal.Introduced{Offer: *offer}, nil
}

// reserve makes a place for an introduction, unless there are too many: one for
// each session that may be, and as many that bring sessions new paths.
func (a *attachment) reserve(id signal.SessionID) (*uplink.Uplink, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leg == nil {
		return nil, latchkey.ErrOffline
	}
	if _, known := a.open[id]; known || len(a.open) >= 2*a.srv.limits().Sessions {
		return nil, fmt.Errorf("%w: introductions under way", latchkey.ErrTooMany)
	}
	a.open[id] = nil
	return a.leg, nil
}

func (a *attachment) forget(id signal.SessionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, id)
}

func (a *attachment) find(id signal.SessionID) *introduction {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open[id]
}

// verify lets in the key that signed the offer, if it may have a session.
func (i *introduction) verify(p secure.Peer) error {
	if p.Key != i.key {
		return fmt.Errorf("%w: the client's key is not the one that was introduced", latchkey.ErrForbidden)
	}
	return i.att.srv.admits(p.Key, false)
}

// run makes the session of a new introduction and serves it.
func (i *introduction) run() {
	defer i.close()
	ended := make(chan struct{})
	defer close(ended)
	i.att.srv.work.run(func() { // ends with the session, or when it has moved to other paths
		select {
		case <-i.replaced:
			i.close()
		case <-ended:
		}
	})
	ctx, cancel := context.WithTimeout(i.att.srv.ctx, introTime)
	defer cancel()
	conn, err := i.receiver.Handshake.Run(ctx)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			i.att.srv.log.Info("introduced client did not come", "op", "introduce", "peer", i.key, "err", err)
		}
		select { // the client may still have to hear the refusal, by a relay that ends with us
		case <-time.After(refusalTime):
		case <-i.att.srv.ctx.Done():
		}
		return
	}
	i.att.srv.run(conn, i.carrier, i)
	_ = conn.Close()
}

// replace says that other paths have taken over.
func (i *introduction) replace() { i.replacing.Do(func() { close(i.replaced) }) }

// close ends the meeting and forgets it. It may be called again.
func (i *introduction) close() {
	i.closing.Do(func() {
		i.meeting.Leave()
		i.att.forget(i.id)
	})
}
