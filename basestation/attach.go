package basestation

import (
	"context"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

const (
	// clockSkew is how far a device's clock may be off before somebody is told.
	clockSkew = 5 * time.Minute
	// How often one device may attach. Two that have the same key and do not
	// slow down when they are told that they were replaced end up here.
	attachEvery = 3 * time.Second
	attachBurst = 20
)

// attach makes l the attachment of a device, if its key may be. The newest one
// that proved such a key wins; the one before is told so. Who has another key
// cannot get that far, and leaves nothing behind but an event.
func (s *station) attach(_ context.Context, l *leg, r *coap.Request) (*coap.Response, error) {
	var m signal.Attach
	if err := signal.Unmarshal(r.Body, &m); err != nil {
		return nil, err
	}
	if s.draining.Load() {
		return nil, latchkey.ErrShutdown
	}
	if err := s.mayAttach(l, m.ID); err != nil {
		s.events.refuse(Event{Kind: EventAttachRefused, Device: m.ID, Key: l.key, Source: l.source, Reason: reasonOf(err)})
		return nil, err
	}
	now := time.Now()
	if !s.legs.attached(l) {
		return nil, latchkey.ErrTooMany
	}
	s.settle(l, m.ID)
	s.registry.Saw(m.ID, now)
	if skew := m.Time.Sub(now); !m.Time.IsZero() && skew.Abs() > clockSkew {
		s.events.add(Event{
			Kind: EventClock, Device: m.ID, Key: l.key, Source: l.source,
			Reason: "clock is off by " + skew.Round(time.Second).String(),
		})
	}
	return reply(coap.Created, &signal.Attached{
		Time: now, Mapped: l.source,
		Servers: s.srv.PublicAddrs, TokensVersion: s.registry.TokensVersion(m.ID),
	})
}

// mayAttach judges the key that l proved. The id counts only for a key that the
// registry knows, so strangers learn nothing about ids.
func (s *station) mayAttach(l *leg, id latchkey.DeviceID) error {
	d, ok := s.registry.ByKey(l.key)
	switch {
	case l.ending.Load():
		return latchkey.ErrReplaced
	case !ok:
		return latchkey.ErrNotRegistered
	case d.ID != id:
		return latchkey.ErrWrongID
	case !s.attaches.allow(id, time.Now()):
		return latchkey.ErrTooMany
	}
	return nil
}

// settle makes l present and ends the attachment that it replaces.
func (s *station) settle(l *leg, id latchkey.DeviceID) {
	l.mu.Lock()
	l.id = id
	l.mu.Unlock()
	old := s.presence.Put(id, l)
	if l.ctx.Err() != nil { // it ended meanwhile, and may not have seen its id
		s.presence.Remove(id, l)
	}
	if old == Attachment(l) {
		return
	}
	s.events.add(Event{Kind: EventAttached, Device: id, Key: l.key, Source: l.source})
	if old == nil {
		return
	}
	e := Event{Kind: EventDuplicateAttach, Device: id, Key: l.key, Source: l.source, OtherKey: old.Key()}
	if other, here := old.(*leg); here {
		e.OtherSource = other.source
	}
	s.events.add(e)
	old.End(latchkey.CodeReplaced)
}
