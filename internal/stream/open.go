package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

// maxService bounds the label of an open.
const maxService = 255

// Open opens a tunnel to a service. It returns when the peer answered: a
// refusal is a *latchkey.RemoteError with the reason. When ctx ends first, the
// peer is told to forget it. latchkey.ErrTooMany says that as many tunnels are
// open as may be, or that the ids are used up (Exhausted).
func (m *Mux) Open(ctx context.Context, service string) (*Stream, error) {
	return m.open(ctx, service, false)
}

// OpenDatagram opens a flow of datagrams to a service, as Open does a tunnel.
func (m *Mux) OpenDatagram(ctx context.Context, service string) (*Flow, error) {
	s, err := m.open(ctx, service, true)
	if err != nil {
		return nil, err
	}
	return &Flow{s: s, queue: s.flow}, nil
}

func (m *Mux) open(ctx context.Context, service string, flow bool) (*Stream, error) {
	if !m.cfg.Client {
		return nil, errors.New("stream: only the client opens")
	}
	if service == "" || len(service) > maxService {
		return nil, fmt.Errorf("stream: a service id has 1 to %d bytes: %w", maxService, latchkey.ErrNotFound)
	}
	t, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	s, err := m.ask(ctx, t, service, flow)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.opened:
	case <-ctx.Done():
		s.abort(latchkey.CodeReset, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateAsked {
		return nil, s.out.err
	}
	t.answered()
	return s, nil
}

// A ticket is a place among the opens that the peer has not answered, and one
// among the tunnels that it has not closed. The peer counts both, and hears
// later of what ends here; by waiting for its word we never ask for too many.
type ticket struct {
	m    *Mux
	once sync.Once
}

// enter waits for a ticket.
func (m *Mux) enter(ctx context.Context) (*ticket, error) {
	if m.Live() >= m.cfg.Limits.Streams {
		return nil, fmt.Errorf("stream: %d tunnels are open: %w", m.cfg.Limits.Streams, latchkey.ErrTooMany)
	}
	if err := m.wait(ctx, m.turns); err != nil {
		return nil, err
	}
	if err := m.wait(ctx, m.places); err != nil {
		<-m.turns
		return nil, err
	}
	return &ticket{m: m}, nil
}

func (m *Mux) wait(ctx context.Context, queue chan struct{}) error {
	select {
	case queue <- struct{}{}:
		return nil
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered gives the turn to the next open.
func (t *ticket) answered() { t.once.Do(func() { <-t.m.turns }) }

// leave gives everything back. It is called once.
func (t *ticket) leave() {
	t.answered()
	<-t.m.places
}

// ask sends an open and our first credit, and begins to read the answer.
func (m *Mux) ask(ctx context.Context, t *ticket, service string, flow bool) (*Stream, error) {
	a, err := m.connected(ctx)
	if err != nil {
		t.leave()
		return nil, err
	}
	s, err := m.register(a, t, service, flow)
	if err != nil {
		t.leave()
		return nil, m.because(ctx, err)
	}
	if err := s.greet(); err != nil {
		s.abort(latchkey.CodeReset, m.because(ctx, err)) // unless a refusal was faster
	}
	return s, nil
}

// greet sends what an open begins with.
func (s *Stream) greet() error {
	err := s.c.dcep(dcepOpenMessage{
		channelType: channelReliable,
		priority:    dcepPriorityNormal,
		label:       s.service,
		protocol:    protocolTunnel,
	}.append(nil))
	if s.flow != nil {
		err = errors.Join(err, s.c.control(control{kind: controlCredit})) // no payload: a flow
		return errors.Join(err, s.flow.ask())
	}
	s.mu.Lock()
	credit := s.in.win.start(time.Now())
	s.mu.Unlock()
	return errors.Join(err, s.c.control(control{kind: controlCredit, credit: credit}))
}

// register makes a stream with the next id, or for a flow two, and begins to
// read.
func (m *Mux) register(a *sctp.Association, t *ticket, service string, flow bool) (*Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := 1
	if flow {
		ids = 2
	}
	switch {
	case m.cause != nil:
		return nil, m.cause
	case m.next+2*(ids-1) > maxID:
		return nil, fmt.Errorf("stream: every id is used up: %w", latchkey.ErrTooMany)
	case !m.pool.open():
		return nil, fmt.Errorf("stream: the process has no credit left: %w", latchkey.ErrTooMany)
	}
	var channels [2]*channel
	for i := range ids {
		st, err := a.OpenStream(uint16(m.next), ppiBinary)
		if err != nil {
			m.pool.give(floorCredit, floorCredit)
			return nil, err
		}
		channels[i] = &channel{id: uint16(m.next), sctp: st}
		m.next += 2
	}
	s := m.newStream(channels[0], service, stateAsked)
	s.ticket = t
	m.live++
	m.streams[s.c.id] = s
	if flow {
		s.beFlow(newDatagrams(m, s.c.id))
		s.flow.attach(channels[1])
		s.in.win.start(time.Now())
		s.flow.setLimit(s.in.win.size)
		m.startReading(channels[1], s.flow)
	}
	m.startReading(channels[0], s)
	return s, nil
}

// startReading starts the reader of a channel. The caller holds m.mu.
func (m *Mux) startReading(c *channel, to receiver) {
	m.channels++
	m.readers.Add(1)
	m.wg.Go(func() { m.read(c, to) }) // ends with the channel or the association
}
