package device

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/gate"
	"github.com/latchkey-dev/latchkey/internal/stream"
	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// openTunnel answers one open of a client and carries the tunnel to its end.
// What is dialled is the target that the door judged, not a second look-up.
func (p *peer) openTunnel(in *stream.Incoming) {
	if !p.work.begin() {
		in.Refuse(latchkey.CodeShutdown)
		return
	}
	defer p.work.end()
	changed := p.srv.changed() // before the door is asked, so that no change is missed
	q := p.question(acl.TunnelOpen, in.Service())
	service, known := p.srv.services.Load().find(in.Service())
	if known {
		q.ServiceType, q.Target = service.target.Network(), service.target.String()
	}
	pass, err := p.admit(in.Context(), q)
	if err != nil {
		in.Refuse(latchkey.CodeOf(err))
		if cause := p.strike(err); cause != nil {
			p.expelled.take(&p.work, func() { p.end(cause) })
		}
		return
	}
	switch {
	case !known:
		err = fmt.Errorf("service %q: %w", in.Service(), latchkey.ErrNotFound)
	case in.Datagram() != (q.ServiceType == "udp"):
		err = fmt.Errorf("%w: service %s is %s", latchkey.ErrProtocol, service.ID, q.ServiceType)
	default:
		err = p.carry(in, pass, changed)
	}
	if err != nil {
		p.log.Info("tunnel ended", "op", acl.TunnelOpen, "service", in.Service(), "code", latchkey.CodeOf(err), "err", err)
		in.Refuse(latchkey.CodeOf(err)) // unless it was accepted
	}
}

// dial opens the local end that the pass was made for.
func (p *peer) dial(ctx context.Context, pass gate.Pass) (net.Conn, error) {
	if _, err := pass.Redeem(acl.TunnelOpen); err != nil {
		return nil, err
	}
	target, err := tunnel.ParseTarget(pass.Request().Target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.srv.limits().DialTime)
	defer cancel()
	return target.Dial(ctx)
}

// carry dials, accepts the open and copies until both directions ended. From
// before the dial on the tunnel is among those that changes are judged by.
func (p *peer) carry(in *stream.Incoming, pass gate.Pass, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(p.sess.Context())
	defer cancel(nil)
	live := &liveTunnel{asked: pass.Request(), in: in, cancel: cancel}
	defer p.tunnels.add(live)()
	select {
	case <-changed:
		p.judgeTunnel(ctx, live)
	default:
	}
	target, err := p.dial(in.Context(), pass)
	if err != nil {
		if cause := live.ended(); cause != nil {
			err = cause
		}
		return err
	}
	defer target.Close()
	far, err := live.accept()
	if err != nil {
		return err
	}
	defer far.Close()
	if err := tunnel.Splice(ctx, far, target, nil); err != nil {
		p.log.Debug("tunnel ended", "service", live.asked.Resource, "err", err)
	}
	return nil
}

// A farEnd is the client's end of a tunnel.
type farEnd interface {
	net.Conn
	Reset(latchkey.Code)
}

// A liveTunnel is open, or being opened, and can be judged again.
type liveTunnel struct {
	asked   acl.Request
	in      *stream.Incoming
	cancel  context.CancelCauseFunc
	reviews turn

	mu    sync.Mutex // guards what follows
	far   farEnd     // nil until the open was accepted
	cause error      // why it ends; nil: it goes on
}

// accept answers yes, unless the tunnel was ended before.
func (l *liveTunnel) accept() (far farEnd, err error) {
	if l.in.Datagram() {
		far, err = l.in.AcceptDatagram()
	} else {
		far, err = l.in.Accept()
	}
	if err != nil {
		if cause := l.ended(); cause != nil {
			err = cause
		}
		return nil, err
	}
	l.mu.Lock()
	l.far = far
	cause := l.cause
	l.mu.Unlock()
	if cause != nil {
		far.Reset(latchkey.CodeOf(cause))
		return nil, cause
	}
	return far, nil
}

// end ends the tunnel, whatever it is doing.
func (l *liveTunnel) end(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
	}
	far := l.far
	l.mu.Unlock()
	if far != nil {
		far.Reset(latchkey.CodeOf(cause))
	} else {
		l.in.Refuse(latchkey.CodeOf(cause)) // and the dial ends, too
	}
	l.cancel(cause)
}

func (l *liveTunnel) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

func (l *liveTunnel) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.far != nil
}

// tunnels is what a peer has open.
type tunnels struct {
	mu   sync.Mutex
	live map[*liveTunnel]struct{}
}

func (t *tunnels) add(l *liveTunnel) (remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[*liveTunnel]struct{})
	}
	t.live[l] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.live, l)
	}
}

func (t *tunnels) all() []*liveTunnel {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*liveTunnel, 0, len(t.live))
	for l := range t.live {
		all = append(all, l)
	}
	return all
}

// judgeTunnel asks the door about a tunnel with what is known now, and ends it
// if that is refused.
func (p *peer) judgeTunnel(ctx context.Context, l *liveTunnel) {
	if l.ended() != nil {
		return
	}
	q := p.question(l.asked.Action, l.asked.Resource)
	q.ServiceType, q.Target = l.asked.ServiceType, l.asked.Target
	if err := p.srv.door.again(ctx, q); err != nil {
		l.end(fmt.Errorf("service %s: %w", l.asked.Resource, err))
		p.revoked(q.Action, q.Resource, err)
	}
}
