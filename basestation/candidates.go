package basestation

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// maxTrickle is how many candidates a peer may send in one introduction, and how
// many messages with them.
const maxTrickle = 64

// A mailbox holds the candidates for one side of an introduction, in order. It
// delivers nothing until that side has the other's offer.
type mailbox struct {
	mu      sync.Mutex
	opened  bool
	running bool // somebody delivers
	queue   []*signal.Candidates
	count   int // candidates and messages that came
}

// put takes a message in. It reports false when there were too many.
func (b *mailbox) put(m *signal.Candidates) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count += 1 + len(m.List); b.count > 2*maxTrickle {
		return false
	}
	b.queue = append(b.queue, m)
	return true
}

func (b *mailbox) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = true
}

// claim reports whether the caller shall deliver: there is something, and nobody
// does so already.
func (b *mailbox) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.opened || b.running || len(b.queue) == 0 {
		return false
	}
	b.running = true
	return true
}

// next returns the next message for who has claimed the mailbox, or nil and ends
// the claim.
func (b *mailbox) next() *signal.Candidates {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.running = false
		return nil
	}
	m := b.queue[0]
	b.queue = b.queue[1:]
	return m
}

// candidates passes candidates on to the other side.
func (s *station) candidates(_ context.Context, l *leg, r *coap.Request) (*coap.Response, error) {
	var m signal.Candidates
	if err := signal.Unmarshal(r.Body, &m); err != nil {
		return nil, err
	}
	in, ok := s.introductions.find(m.Session, l.key)
	if !ok {
		return nil, latchkey.ErrNotFound
	}
	box := &in.toClient
	if l.key == in.client {
		box = &in.toDevice
		in.asker.Store(l)
	}
	if !box.put(&m) {
		return nil, latchkey.ErrTooMany
	}
	s.flush(in, box)
	return coap.NewResponse(coap.Changed), nil
}

// flush delivers what is in a mailbox, unless it is closed or somebody does.
func (s *station) flush(in *introduction, box *mailbox) {
	if !box.claim() {
		return
	}
	s.start(func() { // ends when the mailbox is empty, or with the introduction
		for m := box.next(); m != nil; m = box.next() {
			if in.ctx.Err() != nil {
				continue // lost, as a datagram would be
			}
			if err := s.deliver(in, box, m); err != nil {
				s.log.Debug("candidates not taken", "op", "candidates", "device", in.device.String(), "peer", in.client, "err", err)
			}
		}
	})
}

// deliver sends a message to the peer that a mailbox is for.
func (s *station) deliver(in *introduction, box *mailbox, m *signal.Candidates) error {
	if box == &in.toClient {
		return s.tell(in, signal.PathCandidates, m)
	}
	a, ok := s.presence.Get(in.device)
	if !ok || a.Key() != in.deviceKey() {
		return latchkey.ErrOffline
	}
	return send(in.ctx, a, signal.PathCandidates, m)
}

// tell sends a message to the client by the connection that asked. If that one
// has ended, or refuses, the others of the same key get it, the newest first: the
// client may have come back by one of them, and another process of the same user
// refuses what it did not ask for. The error is that of the one that asked.
func (s *station) tell(in *introduction, path string, m signal.Message) error {
	asker := in.asker.Load()
	err := send(in.ctx, asker, path, m)
	var refused *latchkey.RemoteError
	ended := asker.ctx.Err() != nil || errors.Is(err, net.ErrClosed)
	if err == nil || !ended && !errors.As(err, &refused) {
		return err
	}
	for _, l := range slices.Backward(s.legs.of(in.client)) {
		if l != asker && send(in.ctx, l, path, m) == nil {
			in.asker.CompareAndSwap(asker, l)
			return nil
		}
	}
	return err
}

// leave ends an introduction.
func (s *station) leave(_ context.Context, l *leg, r *coap.Request) (*coap.Response, error) {
	var m signal.Leave
	if err := signal.Unmarshal(r.Body, &m); err != nil {
		return nil, err
	}
	in, ok := s.introductions.find(m.Session, l.key)
	if !ok {
		return nil, latchkey.ErrNotFound
	}
	s.introductions.end(in)
	return coap.NewResponse(coap.Changed), nil
}
