package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// A Forward leads a local address to a service of a device.
type Forward struct {
	Service string // id of the service
	Local   string // host:port, unix:/PATH, or "-" for stdin and stdout
}

// ParseForward reads SERVICE[:LOCAL], where LOCAL is a port of 127.0.0.1, a
// host:port, unix:/PATH, or - for stdin and stdout. Without LOCAL any free
// port of 127.0.0.1 is taken.
func ParseForward(s string) (Forward, error) {
	service, local, ok := strings.Cut(s, ":")
	f := Forward{Service: service, Local: local}
	if service == "" || (ok && local == "") {
		return f, fmt.Errorf("client: %q is not SERVICE[:LOCAL]", s)
	}
	if local == "-" || strings.HasPrefix(local, "unix:/") {
		return f, nil
	}
	if strings.HasPrefix(local, "/") {
		return f, fmt.Errorf("client: local address of %q: a socket is unix:%s", s, local)
	}
	if isPort(service) && ok && !isPort(local) && !strings.Contains(local, ":") {
		return f, fmt.Errorf("client: %q is not SERVICE[:LOCAL]: SERVICE comes first, as in %s:%s", s, local, service)
	}
	host, port := "127.0.0.1", local
	if !ok {
		port = "0"
	}
	if strings.Contains(local, ":") {
		var err error
		if host, port, err = net.SplitHostPort(local); err != nil {
			return f, fmt.Errorf("client: local address of %q: %w", s, err)
		}
	}
	if !isPort(port) {
		return f, fmt.Errorf("client: local address of %q: a port is a number from 0 to 65535", s)
	}
	f.Local = net.JoinHostPort(host, port)
	return f, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// A ForwardEvent is something that a person who runs a tunnel wants to know.
type ForwardEvent struct {
	Kind    string // "listening", "connected", "path", "reconnecting", "refused"
	Service string // of "listening" and "refused"
	Addr    string // local of "listening", the device's of "connected" and "path"
	Path    string // of "connected" and "path", which tells a change: "local", "direct" or "relay"
	Err     error  // of "reconnecting" and "refused"
}

// ForwardOptions are the choices of Client.Forward.
type ForwardOptions struct {
	Dial     DialOptions        // how to reach the device, each time
	Event    func(ForwardEvent) // nil: none; may be called concurrently
	Progress *Progress          // counts bytes; may be nil
	Stdio    net.Conn           // used for Local "-"; nil: stdin and stdout of the process
}

// Progress counts the bytes of tunnels while they run.
type Progress = tunnel.Progress

// Forward listens on every local address and leads each connection to its
// service, until ctx ends. A lost session is dialled again while listeners
// stay open and new connections wait. It returns nil when ctx ends or the one
// connection of a "-" does; an error when a local address cannot be taken, the
// first dial fails, no service may be opened, or the device has ended our access for good
// (latchkey.ErrRevoked, latchkey.ErrDisconnected, latchkey.ErrAbuse,
// latchkey.ErrHandshakeRefused, latchkey.ErrIdentityChanged, and without
// DialOptions.Login latchkey.ErrTokenExpired): then local connections are reset at once. An
// error leaves stdout open, so that its reader cannot see the end of a "-"
// before the caller has told why.
func (c *Client) Forward(ctx context.Context, alias string, list []Forward, o ForwardOptions) error {
	if o.Event == nil {
		o.Event = func(ForwardEvent) {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &forwarder{keeper: newKeeper(c, alias, o.Dial, o.Event), options: o, stop: cancel}
	defer f.close()
	for _, one := range list {
		if err := f.listen(ctx, one); err != nil {
			return err
		}
	}
	conn, err := f.keeper.start(ctx)
	if err != nil {
		return err
	}
	if err := f.learn(ctx, conn); err != nil {
		return err
	}
	f.work.Go(func() { cancel(f.keeper.run(ctx)) })
	for _, s := range f.servers {
		f.work.Go(func() {
			if err := s.serve(ctx); err != nil {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	f.close()
	f.work.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// errDone ends a Forward whose stdin and stdout have been served.
var errDone = errors.New("client: done")

type forwarder struct {
	keeper  *keeper
	options ForwardOptions
	stop    context.CancelCauseFunc
	servers []*forwardServer
	work    sync.WaitGroup
}

// A forwardServer is one local address.
type forwardServer struct {
	*forwarder
	Forward
	udp     bool
	streams net.Listener   // of tcp and unix
	packets net.PacketConn // of the same address, for a udp service
}

// close takes the listeners and the connection down; it may be called twice.
func (f *forwarder) close() {
	for _, s := range f.servers {
		if s.streams != nil {
			_ = s.streams.Close()
		}
		if s.packets != nil {
			_ = s.packets.Close()
		}
	}
	f.keeper.close()
}

func (f *forwarder) listen(ctx context.Context, one Forward) error {
	s := &forwardServer{forwarder: f, Forward: one}
	f.servers = append(f.servers, s)
	if one.Local == "-" {
		return nil
	}
	network, addr := "tcp", one.Local
	if path, ok := strings.CutPrefix(one.Local, "unix:"); ok {
		network, addr = "unix", path
	}
	var err error
	var lc net.ListenConfig
	if s.streams, err = lc.Listen(ctx, network, addr); err != nil {
		return fmt.Errorf("listen for %s: %w", one.Service, err)
	}
	return nil
}

// learn asks the device for its services, so that a mistyped name or a lack of
// rights is told at once and udp services get a UDP socket. A device that does
// not let us list them still may let us open them.
func (f *forwarder) learn(ctx context.Context, conn *Conn) error {
	services, err := conn.Services(ctx)
	if errors.Is(err, latchkey.ErrForbidden) {
		services = nil
	} else if err != nil {
		return err
	}
	if err := f.check(services, conn.Device()); err != nil {
		return err
	}
	for _, s := range f.servers {
		if v, _ := offered(services, s.Service); v.Type == "udp" {
			if err := s.becomeUDP(ctx); err != nil {
				return err
			}
		}
		f.options.Event(ForwardEvent{Kind: "listening", Service: s.Service, Addr: s.addr()})
	}
	return nil
}

// check looks for what was asked for among the services of a device. What may
// not be opened now is told, and an error only if nothing else is left: rights
// may come while the others run. A "-" is about to be opened and finds out.
func (f *forwarder) check(services []Service, device latchkey.Fingerprint) error {
	var refused []ForwardEvent
	for _, s := range f.servers {
		v, ok := offered(services, s.Service)
		switch {
		case !ok && len(services) > 0:
			return fmt.Errorf("service %q: %w: the device offers %s", s.Service, latchkey.ErrNotFound, names(services))
		case ok && !v.Open && s.Local != "-":
			err := &latchkey.RemoteError{Op: "open tunnel " + s.Service, Peer: device, Code: latchkey.CodeForbidden}
			refused = append(refused, ForwardEvent{Kind: "refused", Service: s.Service, Err: err})
		}
	}
	if len(refused) > 0 && len(refused) == len(f.servers) {
		return refused[0].Err
	}
	for _, e := range refused {
		f.options.Event(e)
	}
	return nil
}

func offered(services []Service, id string) (Service, bool) {
	i := slices.IndexFunc(services, func(v Service) bool { return v.ID == id })
	if i < 0 {
		return Service{}, false
	}
	return services[i], true
}

func names(services []Service) string {
	var ids []string
	for _, s := range services {
		ids = append(ids, s.ID)
	}
	return strings.Join(ids, ", ")
}

func (s *forwardServer) becomeUDP(ctx context.Context) error {
	s.udp = true
	if s.streams == nil {
		return nil
	}
	if s.streams.Addr().Network() == "unix" {
		return fmt.Errorf("client: service %s is udp and needs a port, not %s", s.Service, s.Local)
	}
	addr := s.streams.Addr().String()
	_ = s.streams.Close()
	s.streams = nil
	var err error
	var lc net.ListenConfig
	if s.packets, err = lc.ListenPacket(ctx, "udp", addr); err != nil {
		return fmt.Errorf("listen for %s: %w", s.Service, err)
	}
	return nil
}

func (s *forwardServer) addr() string {
	switch {
	case s.streams != nil:
		return s.streams.Addr().String()
	case s.packets != nil:
		return s.packets.LocalAddr().String()
	}
	return s.Local
}

func (s *forwardServer) serve(ctx context.Context) error {
	switch {
	case s.packets != nil:
		return tunnel.ServeUDP(ctx, s.packets, s.openUDP, 0)
	case s.streams != nil:
		return s.accept(ctx)
	}
	local := s.options.Stdio
	if local == nil {
		local = tunnel.Stdio()
	}
	if err := s.carry(ctx, local); err != nil {
		return err
	}
	return errDone
}

func (s *forwardServer) accept(ctx context.Context) error {
	for {
		local, err := s.streams.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors, most likely: it passes
			s.options.Event(ForwardEvent{Kind: "refused", Service: s.Service, Err: err})
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		s.work.Go(func() {
			err := s.carry(ctx, local)
			if cut := (*cutError)(nil); errors.As(err, &cut) {
				s.keeper.client.logger().Debug("tunnel ended", "service", s.Service, "err", err) // its two ends know
			} else if err != nil && ctx.Err() == nil {
				s.options.Event(ForwardEvent{Kind: "refused", Service: s.Service, Err: err})
			}
		})
	}
}

// carry leads one local connection to the service. The error says why that
// could not be opened, or what cut it short.
func (s *forwardServer) carry(ctx context.Context, local net.Conn) error {
	far, err := s.open(ctx)
	if err != nil {
		abort(local)
		return err
	}
	if err := tunnel.Splice(ctx, local, far, s.options.Progress); err != nil { // closes both
		s.endIfOver(&endedError{"tunnel to " + s.Service, err})
		return &cutError{err}
	}
	return nil
}

// A cutError is the end of a connection that was open.
type cutError struct{ error }

func (e *cutError) Error() string { return "connection cut short: " + e.error.Error() }
func (e *cutError) Unwrap() error { return e.error }

// abort makes a TCP connection end with RST, so that its user does not take a
// refusal for an orderly end, and leaves stdout open until the reason is told.
func abort(local net.Conn) {
	switch local := local.(type) {
	case *net.TCPConn:
		_ = local.SetLinger(0)
	case tunnel.Half:
		local.Reset(latchkey.CodeReset)
	}
	_ = local.Close()
}

// open opens a tunnel on the present session, waiting for one if need be. Who
// was let in before and has lost that is told so, and the Forward ends.
func (s *forwardServer) open(ctx context.Context) (net.Conn, error) {
	far, err := s.keeper.use(ctx, func(ctx context.Context, conn *Conn) (net.Conn, error) {
		if s.udp {
			return conn.TunnelUDP(ctx, s.Service)
		}
		return conn.Tunnel(ctx, s.Service)
	})
	s.endIfOver(err)
	return far, err
}

// openUDP is open for sources whose datagrams nobody can refuse to.
func (s *forwardServer) openUDP(ctx context.Context) (net.Conn, error) {
	far, err := s.open(ctx)
	if err != nil && ctx.Err() == nil {
		s.options.Event(ForwardEvent{Kind: "refused", Service: s.Service, Err: err})
	}
	return far, err
}

func (s *forwardServer) endIfOver(err error) {
	if isFarewell(err) {
		s.stop(err)
	}
}
