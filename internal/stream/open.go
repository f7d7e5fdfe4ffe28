package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	select {
	case m.turns <- struct{}{}:
		defer func() { <-m.turns }()
	case <-m.ctx.Done():
		return nil, context.Cause(m.ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	a, err := m.connected(ctx)
	if err != nil {
		return nil, err
	}
	s, err := m.ask(a, service, flow)
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
	return s, nil
}

// ask sends an open and our first credit, and begins to read the answer.
func (m *Mux) ask(a *sctp.Association, service string, flow bool) (*Stream, error) {
	s, err := m.register(a, service, flow)
	if err != nil {
		return nil, err
	}
	err = s.c.dcep(dcepOpenMessage{
		channelType: channelReliable,
		priority:    dcepPriorityNormal,
		label:       service,
		protocol:    protocolTunnel,
	}.append(nil))
	s.mu.Lock()
	var credit int64 // 0 for a flow, and says that it is one
	if !flow {
		credit = s.in.win.start(time.Now())
	}
	s.mu.Unlock()
	err = errors.Join(err, s.c.control(control{kind: controlCredit, credit: credit}))
	if flow {
		err = errors.Join(err, s.flow.ask())
	}
	if err != nil {
		s.abort(latchkey.CodeReset, err)
		return nil, err
	}
	return s, nil
}

// register makes a stream with the next id, or for a flow two, and starts what
// reads it.
func (m *Mux) register(a *sctp.Association, service string, flow bool) (*Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := 1
	if flow {
		ids = 2
	}
	switch {
	case m.cause != nil:
		return nil, m.cause
	case m.live >= m.cfg.Limits.Streams:
		return nil, fmt.Errorf("stream: %d tunnels are open: %w", m.live, latchkey.ErrTooMany)
	case m.next+2*(ids-1) > maxID:
		return nil, fmt.Errorf("stream: every id is used up: %w", latchkey.ErrTooMany)
	case !m.pool.open():
		return nil, fmt.Errorf("stream: the process has no credit left: %w", latchkey.ErrTooMany)
	}
	channels := make([]*channel, ids)
	for i := range channels {
		id := uint16(m.next)
		st, err := a.OpenStream(id, ppiBinary)
		if err != nil {
			return nil, err
		}
		m.next += 2
		channels[i] = &channel{id: id, sctp: st}
	}
	s := m.newStream(channels[0], service, stateAsked)
	m.live++
	m.streams[s.c.id] = s
	if flow {
		s.flow = newDatagrams(m, s.c.id)
		s.flow.attach(channels[1])
		s.in.win.start(time.Now())
		s.flow.setLimit(s.in.win.size)
		s.in.wake = s.flow.wake
		m.startReading(channels[1], s.flow)
	}
	m.startReading(channels[0], s)
	return s, nil
}

// startReading starts the reader of a channel. The caller holds m.mu.
func (m *Mux) startReading(c *channel, to receiver) {
	m.channels++
	m.wg.Go(func() { m.read(c, to) }) // ends with the channel or the association
}

func flowLabel(id uint16) string { return strconv.Itoa(int(id)) }
