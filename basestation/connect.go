package basestation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// errOwnKey refuses a client that would be introduced to itself.
var errOwnKey = fmt.Errorf("basestation: client and device have the same key: %w", latchkey.ErrConflict)

// connect begins an introduction, if the gate lets the client through.
func (s *station) connect(ctx context.Context, l *leg, r *coap.Request) (*coap.Response, error) {
	started := time.Now()
	var m signal.Connect
	if err := signal.Unmarshal(r.Body, &m); err != nil {
		return nil, err
	}
	signer, err := m.Offer.Verify(signal.RoleClient, m.Offer.Session, m.ID)
	switch {
	case err != nil:
		return nil, err
	case signer != l.key:
		return nil, fmt.Errorf("offer of another key: %w", latchkey.ErrProtocol)
	case s.draining.Load():
		return nil, latchkey.ErrShutdown
	case m.JWT != "" && s.failures.spent(prefixOf(l.source.Addr()), started):
		return nil, latchkey.ErrTooMany // a JWT costs work before it is refused
	}
	device, present := s.presence.Get(m.ID)
	if err := s.admit(ctx, &m, l, !present, started); err != nil {
		return s.turnAway(ctx, l, &m, started, err)
	}
	switch {
	case !present && !m.Wait:
		return nil, latchkey.ErrOffline
	case present && device.Key() == l.key:
		return nil, errOwnKey
	}
	return s.begin(l, &m, device)
}

// begin introduces a client to a device, or makes it wait for one that is away,
// which is nil.
func (s *station) begin(l *leg, m *signal.Connect, device Attachment) (*coap.Response, error) {
	in, err := s.introductions.begin(m.Offer.Session, m.ID, l)
	if err != nil {
		return nil, err
	}
	connected := &signal.Connected{Session: in.session, Servers: s.srv.PublicAddrs, Waiting: device == nil}
	if device == nil {
		if !l.await(m.ID) {
			s.introductions.end(in)
			return nil, latchkey.ErrTooMany
		}
		s.legs.introduced(l)
		s.start(func() { s.wait(l, in, m.Offer) }) // ends with the leg, or after Limits.WaitMax
		return reply(coap.Created, connected)
	}
	s.legs.introduced(l)
	var grant *signal.Grant
	connected.Relay, grant = s.grant(l, in, device)
	s.start(func() { s.introduce(l, in, device, m.Offer, nil, grant) }) // ends with the leg, or after two calls
	return reply(coap.Created, connected)
}

// await notes that the peer waits for a device. It reports false if it does so
// already.
func (l *leg) await(id latchkey.DeviceID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, already := l.waiting[id]; already {
		return false
	}
	if l.waiting == nil {
		l.waiting = make(map[latchkey.DeviceID]struct{})
	}
	l.waiting[id] = struct{}{}
	return true
}

func (l *leg) awaited(id latchkey.DeviceID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
}

// wait introduces the client as soon as the device attaches.
func (s *station) wait(l *leg, in *introduction, offer signal.Offer) {
	s.count.waiting.Add(1)
	defer s.count.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(l.ctx, s.limits().WaitMax)
	defer cancel()
	defer context.AfterFunc(in.ctx, cancel)() // the client has left
	device, err := s.presence.Wait(ctx, in.device)
	l.awaited(in.device)
	if err == nil && device.Key() == l.key {
		err = errOwnKey
	}
	if err != nil {
		s.fail(l, in, errors.Join(latchkey.ErrOffline, err))
		return
	}
	client, grant := s.grant(l, in, device)
	s.introduce(l, in, device, offer, client, grant)
}

// grant lets both sides use the relay. Without a grant they have to do without.
func (s *station) grant(l *leg, in *introduction, device Attachment) (client, dev *signal.Grant) {
	c, d, end, err := s.relay.Grant(in.client, device.Key(), time.Now())
	if err != nil {
		s.log.Warn("no relay for an introduction", "op", "grant", "device", in.device.String(), "peer", in.client, "err", err)
	}
	if !in.meet(device.Key(), end) || err != nil {
		return nil, nil
	}
	now := time.Now()
	s.credit.add(l.source.Addr(), now)
	if here, ok := device.(*leg); ok {
		s.credit.add(here.source.Addr(), now)
	}
	return &c, &d
}
