package basestation

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/latchkey-dev/latchkey"
)

// An EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventAttached        EventKind = "attached"
	EventDetached        EventKind = "detached"
	EventDuplicateAttach EventKind = "duplicate_attach" // Key took the place of OtherKey
	EventAttachRefused   EventKind = "attach_refused"
	EventTokens          EventKind = "tokens_replaced"
	EventRevoked         EventKind = "revoked"      // an attached device whose key the registry no longer has
	EventPeerRefused     EventKind = "peer_refused" // before it asked for anything
	EventGateRefused     EventKind = "gate_refused"
	EventIntroduced      EventKind = "introduced"
	EventNotIntroduced   EventKind = "not_introduced"
	EventClock           EventKind = "clock" // a device's clock is off by more than five minutes
	EventDraining        EventKind = "draining"
)

// An Event is one thing that an operator may want to know. It holds no secret.
type Event struct {
	Seq         uint64               `json:"seq"` // 1, 2, 3 ...; a gap means that events were missed
	Time        time.Time            `json:"time"`
	Kind        EventKind            `json:"kind"`
	Device      latchkey.DeviceID    `json:"device,omitzero"`
	Key         latchkey.Fingerprint `json:"key,omitzero"`
	Source      netip.AddrPort       `json:"source,omitzero"`
	OtherKey    latchkey.Fingerprint `json:"other_key,omitzero"`
	OtherSource netip.AddrPort       `json:"other_source,omitzero"`
	Reason      string               `json:"reason,omitempty"`
	Suppressed  uint64               `json:"suppressed,omitempty"` // refusals before this one that were too many to record
}

const (
	eventsKept = 1024
	// Refusals are what strangers cause: they must not push everything else out.
	refusalEvery = 100 * time.Millisecond
	refusalBurst = 50
)

// events keeps the last ones in memory and writes each to the log.
type events struct {
	log *slog.Logger

	mu         sync.Mutex
	ring       []Event
	seq        uint64
	more       chan struct{} // closed at the next event
	refusals   *rate.Limiter
	suppressed uint64
}

func newEvents(log *slog.Logger) *events {
	return &events{log: log, more: make(chan struct{}), refusals: rate.NewLimiter(rate.Every(refusalEvery), refusalBurst)}
}

// refuse records a refusal, unless there are too many.
func (v *events) refuse(e Event) {
	v.mu.Lock()
	if !v.refusals.Allow() {
		v.suppressed++
		v.mu.Unlock()
		return
	}
	e.Suppressed, v.suppressed = v.suppressed, 0
	v.mu.Unlock()
	v.add(e)
}

// add records an event.
func (v *events) add(e Event) {
	v.mu.Lock()
	v.seq++
	e.Seq, e.Time = v.seq, time.Now().UTC().Round(0)
	if len(v.ring) < eventsKept {
		v.ring = append(v.ring, e)
	} else {
		v.ring[(e.Seq-1)%eventsKept] = e
	}
	close(v.more)
	v.more = make(chan struct{})
	v.mu.Unlock()
	level := slog.LevelInfo
	if e.Kind == EventDuplicateAttach {
		level = slog.LevelWarn
	}
	v.log.LogAttrs(context.Background(), level, "event", e.attrs()...)
}

func (e Event) attrs() []slog.Attr {
	list := []slog.Attr{slog.String("op", string(e.Kind))}
	add := func(key string, value any, set bool) {
		if set {
			list = append(list, slog.Any(key, value))
		}
	}
	add("device", e.Device.String(), e.Device != latchkey.DeviceID{})
	add("peer", e.Key, !e.Key.IsZero())
	add("source", e.Source.String(), e.Source.IsValid())
	add("other_peer", e.OtherKey, !e.OtherKey.IsZero())
	add("other_source", e.OtherSource.String(), e.OtherSource.IsValid())
	add("err", e.Reason, e.Reason != "")
	add("suppressed", e.Suppressed, e.Suppressed > 0)
	return list
}

// after returns what was recorded after seq and is still kept, oldest first, and
// a channel that is closed when there is more.
func (v *events) after(seq uint64) ([]Event, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	first := max(seq, v.seq-uint64(len(v.ring)))
	var list []Event
	for n := first; n < v.seq; n++ {
		list = append(list, v.ring[n%eventsKept])
	}
	return list, v.more
}

// Events returns the latest events, oldest first, at most 1,024.
func (srv *Server) Events() ([]Event, error) {
	s, err := srv.serving()
	if err != nil {
		return nil, err
	}
	list, _ := s.events.after(0)
	return list, nil
}

// Tail returns the events after the one numbered seq, and those to come, until
// ctx or serving ends. Whoever reads too slowly misses some: see Event.Seq.
func (srv *Server) Tail(ctx context.Context, seq uint64) (iter.Seq[Event], error) {
	s, err := srv.serving()
	if err != nil {
		return nil, err
	}
	return func(yield func(Event) bool) {
		for {
			list, more := s.events.after(seq)
			for _, e := range list {
				if seq = e.Seq; !yield(e) {
					return
				}
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	}, nil
}
