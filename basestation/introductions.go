package basestation

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

const (
	sweepEvery = 5 * time.Second
	// linger is how long an introduction and its relay outlive the connection of
	// one of its peers, which may come back by another way.
	linger = time.Minute
)

// An introduction is a client and a device that are told about each other. Its
// peers are known by their keys, so that it outlives their connections. Of the
// connections that the client's key may have, the one that spoke of the
// introduction last is used as long as it serves.
type introduction struct {
	session signal.SessionID
	device  latchkey.DeviceID
	client  latchkey.Fingerprint

	toDevice, toClient mailbox

	ctx context.Context // ends with the introduction
	end context.CancelFunc

	asker atomic.Pointer[leg] // never nil

	mu       sync.Mutex
	met      latchkey.Fingerprint // the device's key; zero: it has not attached yet
	over     bool
	endRelay func() // nil: none
	lonely   time.Time
}

// meet notes with which key the device is there, and how to end the relay. It
// reports false, and ends the relay, if the introduction is over.
func (in *introduction) meet(device latchkey.Fingerprint, endRelay func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.over {
		if endRelay != nil {
			endRelay()
		}
		return false
	}
	in.met, in.endRelay = device, endRelay
	return true
}

// deviceKey returns the key with which the device is there, zero if it is not.
func (in *introduction) deviceKey() latchkey.Fingerprint {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.met
}

func (in *introduction) close() {
	in.mu.Lock()
	endRelay := in.endRelay
	in.over, in.endRelay = true, nil
	in.mu.Unlock()
	in.end()
	if endRelay != nil {
		endRelay()
	}
}

// introductions is the table of those that are under way.
type introductions struct {
	limits func() Limits

	mu       sync.Mutex
	byID     map[signal.SessionID]*introduction
	byClient map[latchkey.Fingerprint]int
	byDevice map[latchkey.DeviceID]int
}

func newIntroductions(limits func() Limits) *introductions {
	return &introductions{
		limits:   limits,
		byID:     make(map[signal.SessionID]*introduction),
		byClient: make(map[latchkey.Fingerprint]int),
		byDevice: make(map[latchkey.DeviceID]int),
	}
}

// begin makes an introduction. latchkey.ErrConflict: there is one of that id;
// latchkey.ErrTooMany: a limit.
func (t *introductions) begin(session signal.SessionID, device latchkey.DeviceID, asker *leg) (*introduction, error) {
	limits, client := t.limits(), asker.key
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.byID[session] != nil:
		return nil, fmt.Errorf("introduction %s: %w", session, latchkey.ErrConflict)
	case len(t.byID) >= limits.Introductions, t.byClient[client] >= limits.PerClient, t.byDevice[device] >= limits.PerDevice:
		return nil, fmt.Errorf("introduction: %w", latchkey.ErrTooMany)
	}
	in := &introduction{session: session, device: device, client: client}
	in.asker.Store(asker)
	in.ctx, in.end = context.WithCancel(context.Background())
	t.byID[session] = in
	t.byClient[client]++
	t.byDevice[device]++
	return in, nil
}

// find returns the introduction of that id in which key takes part.
func (t *introductions) find(session signal.SessionID, key latchkey.Fingerprint) (*introduction, bool) {
	t.mu.Lock()
	in := t.byID[session]
	t.mu.Unlock()
	if in == nil || in.client != key && in.deviceKey() != key {
		return nil, false
	}
	return in, true
}

// end ends an introduction and its relay.
func (t *introductions) end(in *introduction) {
	t.mu.Lock()
	if t.byID[in.session] == in {
		delete(t.byID, in.session)
		decrease(t.byClient, in.client)
		decrease(t.byDevice, in.device)
	}
	t.mu.Unlock()
	in.close()
}

func decrease[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

func (t *introductions) all() []*introduction {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*introduction, 0, len(t.byID))
	for _, in := range t.byID {
		list = append(list, in)
	}
	return list
}

func (t *introductions) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// endOf ends those in which a device took part that is one no more.
func (t *introductions) endOf(device latchkey.Fingerprint) {
	for _, in := range t.all() {
		if in.deviceKey() == device {
			t.end(in)
		}
	}
}

// sweep ends introductions of which one side is gone for too long, until ctx
// ends.
func (s *station) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, in := range s.introductions.all() {
				if in.abandoned(s.complete(in), now) {
					s.introductions.end(in)
				}
			}
		}
	}
}

// complete reports whether both sides are connected, or the device is still
// waited for.
func (s *station) complete(in *introduction) bool {
	if len(s.legs.of(in.client)) == 0 {
		return false
	}
	key := in.deviceKey()
	if key.IsZero() {
		return true
	}
	a, ok := s.presence.Get(in.device)
	return ok && a.Key() == key
}

func (in *introduction) abandoned(complete bool, now time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case complete:
		in.lonely = time.Time{}
	case in.lonely.IsZero():
		in.lonely = now
	}
	return !in.lonely.IsZero() && now.Sub(in.lonely) >= linger
}
