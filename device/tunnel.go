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
	changed := p.srv.changed() // before the door is asked, so that carry misses no change
	q := p.question(acl.TunnelOpen, in.Service())
	service, known := p.srv.services.Load().find(in.Service())
	if known {
		q.ServiceType, q.Target = service.target.Network(), service.target.String()
	}
	pass, err := p.srv.door.admit(in.Context(), q)
	if err == nil && !known {
		err = fmt.Errorf("service %q: %w", in.Service(), latchkey.ErrNotFound)
	}
	if err == nil && in.Datagram() != (q.ServiceType == "udp") {
		err = fmt.Errorf("%w: service %s is %s", latchkey.ErrProtocol, service.ID, q.ServiceType)
	}
	var target net.Conn
	if err == nil {
		target, err = p.dial(in.Context(), pass)
	}
	if err != nil {
		p.log.Info("tunnel refused", "op", acl.TunnelOpen, "service", in.Service(), "code", latchkey.CodeOf(err), "err", err)
		in.Refuse(latchkey.CodeOf(err))
		return
	}
	defer target.Close()
	if err := p.carry(in, pass, target, changed); err != nil {
		p.log.Debug("tunnel ended", "service", service.ID, "err", err)
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

// carry accepts the open and copies until both directions ended. What changed
// since the door was asked is judged once the tunnel is among those that later
// changes are judged by.
func (p *peer) carry(in *stream.Incoming, pass gate.Pass, target net.Conn, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(p.sess.Context())
	defer cancel(nil)
	var far interface {
		net.Conn
		Reset(latchkey.Code)
	}
	var err error
	if in.Datagram() {
		far, err = in.AcceptDatagram()
	} else {
		far, err = in.Accept()
	}
	if err != nil {
		return err
	}
	defer far.Close()
	live := &liveTunnel{asked: pass.Request(), end: func(cause error) {
		far.Reset(latchkey.CodeOf(cause))
		cancel(cause)
	}}
	defer p.tunnels.add(live)()
	select {
	case <-changed:
		p.judgeTunnel(p.sess.Context(), live)
	default:
	}
	return tunnel.Splice(ctx, far, target, nil)
}

// A liveTunnel can be judged again while it is open.
type liveTunnel struct {
	asked acl.Request
	end   func(cause error)
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

// judgeTunnel asks the door about an open tunnel with what is known now, and
// ends it if that is refused.
func (p *peer) judgeTunnel(ctx context.Context, l *liveTunnel) {
	q := p.question(l.asked.Action, l.asked.Resource)
	q.ServiceType, q.Target = l.asked.ServiceType, l.asked.Target
	if err := p.srv.door.again(ctx, q); err != nil {
		l.end(fmt.Errorf("service %s: %w", l.asked.Resource, err))
	}
}
