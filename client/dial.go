package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/discover"
)

const (
	dialStagger   = 150 * time.Millisecond // between the first tries at two addresses (RFC 8305 section 5)
	dialTimeout   = 10 * time.Second       // of one address
	discoverAfter = 300 * time.Millisecond // known addresses have had this long to answer
	discoverFor   = 3 * time.Second
)

// A DialError says for each address why the device was not reached there.
type DialError struct {
	Device string // alias, or id, or the addresses tried
	Tries  []Try
}

// A Try is one address and what came of it.
type Try struct {
	Addr string
	Err  error
}

// Error lists every try, or gives the word of the device itself.
func (e *DialError) Error() string {
	for _, t := range e.Tries {
		if refused := (*refusedError)(nil); errors.As(t.Err, &refused) {
			return e.Device + ": the device does not know this key and is not open for pairing from here"
		}
	}
	if len(e.Tries) == 0 {
		return fmt.Sprintf("cannot reach %s: no address of it is known, and it was not found on this network", e.Device)
	}
	s := fmt.Sprintf("cannot reach %s:", e.Device)
	for i, t := range e.Tries {
		if i > 0 {
			s += ";"
		}
		s += " " + t.Addr + ": " + t.Err.Error()
	}
	return s
}

// Unwrap makes errors.Is look into every try. Another key counts only if it
// answered at every address: at one of several it is a stale address.
func (e *DialError) Unwrap() []error {
	if len(e.Tries) == 0 {
		return []error{latchkey.ErrOffline}
	}
	var others, errs []error
	for _, t := range e.Tries {
		if errors.Is(t.Err, latchkey.ErrIdentityChanged) {
			others = append(others, t.Err)
		} else {
			errs = append(errs, t.Err)
		}
	}
	if len(errs) == 0 {
		return others
	}
	return errs
}

// Dial connects to a known device by its alias. The addresses of devices.json
// are tried at once, a little apart, and so is the device's basestation;
// discovery joins in when nobody answers. The first path on which the pinned key
// answers wins; a session made by way of the basestation moves to better paths
// by itself. The error
// matches latchkey.ErrUnknownDevice for an alias that is not known,
// latchkey.ErrIdentityChanged when only another key answered, and
// latchkey.ErrHandshakeRefused when the device does not know ours.
func (c *Client) Dial(ctx context.Context, alias string) (*Conn, error) {
	return c.DialWith(ctx, alias, DialOptions{})
}

// DialWith is Dial with choices.
func (c *Client) DialWith(ctx context.Context, alias string, o DialOptions) (*Conn, error) {
	known, err := c.OpenKnown()
	if err != nil {
		return nil, err
	}
	dev, err := known.Lookup(alias)
	if err != nil {
		return nil, err
	}
	conn := &Conn{client: c, device: dev, options: o}
	if _, err := conn.renew(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// reach races the addresses, the basestation and, a little later, discovery. It
// returns the addresses that discovery added, beside the link.
func (c *Client) reach(ctx context.Context, dev Device, o DialOptions) (*link, []string, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &race{client: c, dev: dev, options: o, results: make(chan result), over: make(chan struct{})}
	name := dev.label()
	defer func() {
		cancel()
		close(r.over)
		r.drain()
	}()
	found, searching := make(chan string), false
	if o.Via == ViaAuto || o.Via == ViaLocal {
		r.start(ctx, dev.Addrs)
		if !c.NoDiscovery {
			searching = true
			r.running++
			go c.search(ctx, dev.Key, found, r.results) // ends with ctx or after discoverFor
		}
	}
	if o.Via != ViaLocal && (o.Via != ViaAuto || len(dev.Basestations) > 0) {
		r.startRemote(ctx)
	}
	var added []string
	for r.running > 0 {
		select {
		case addr := <-found:
			if !slices.Contains(r.tried, addr) && len(added) < maxAddrs {
				added = append(added, addr)
				r.start(ctx, []string{addr})
			}
		case res := <-r.results:
			r.running--
			r.remote = r.remote && res.addr != byBasestation
			switch {
			case res.link != nil:
				return res.link, added, nil
			case res.err != nil && slices.Contains(added, res.addr) && errors.Is(res.err, latchkey.ErrIdentityChanged):
				c.logger().Warn("somebody else claims to be the device", "device", name, "addr", res.addr, "err", res.err)
			case res.err != nil:
				r.failed = append(r.failed, Try{res.addr, res.err})
			}
			if refused := (*refusedError)(nil); errors.As(res.err, &refused) {
				return nil, nil, &DialError{Device: name, Tries: r.failed}
			}
		}
	}
	if len(r.failed) > 0 && len(r.tried) == 0 && searching {
		r.failed = append([]Try{notFound}, r.failed...)
	}
	if err := context.Cause(ctx); err != nil && len(r.failed) == 0 {
		return nil, nil, err
	}
	return nil, nil, &DialError{Device: name, Tries: r.failed}
}

// notFound stands for the addresses of a device that has none, beside other
// tries.
var notFound = Try{"on this network", errors.New("no address of it is known, and it was not found")}

// A race is the tries of one Dial. Only the goroutine of reach touches it.
type race struct {
	client  *Client
	dev     Device
	options DialOptions
	results chan result
	over    chan struct{} // closed when nobody waits for the remote try any more
	remote  bool          // counted in running
	running int
	next    time.Time // when the next try may begin
	tried   []string
	failed  []Try
}

type result struct {
	addr string
	link *link
	err  error
}

func (r *race) start(ctx context.Context, addrs []string) {
	for _, addr := range addrs {
		r.running++
		r.tried = append(r.tried, addr)
		delay := max(0, time.Until(r.next))
		r.next = time.Now().Add(delay + dialStagger)
		go func() { // ends with the handshake, dialTimeout or ctx
			l, err := r.try(ctx, addr, delay)
			r.results <- result{addr, l, err}
		}()
	}
}

// startRemote tries the way by the basestation. It gets no head start and gives
// none: on the device's own network the handshake there is faster.
// A Dial that has got another way does not wait for its end, which the
// basestation may delay; Client.Close does.
func (r *race) startRemote(ctx context.Context) {
	try := func() { // ends with the introduction, introduceTime or ctx
		l, err := r.client.attend(ctx, r.dev, r.options)
		select {
		case r.results <- result{byBasestation, l, err}:
		case <-r.over:
			if l != nil {
				l.close()
			}
		}
	}
	if r.client.background.run(try) {
		r.running++
		r.remote = true
	} else {
		r.failed = append(r.failed, Try{byBasestation, net.ErrClosed})
	}
}

// byBasestation stands for an address in errors.
const byBasestation = "by way of its basestation"

func (r *race) try(ctx context.Context, addr string, delay time.Duration) (*link, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(delay):
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	for _, to := range list { // of a name, each has its share of the time
		one, cancel := context.WithTimeout(ctx, dialTimeout/time.Duration(len(list)))
		l, openErr := r.client.open(one, r.dev, r.options, to)
		cancel()
		if openErr == nil {
			return l, nil
		}
		err = openErr
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer: %w", err)
	}
	return nil, err
}

// drain collects the losers, so that nothing of the race is left behind.
func (r *race) drain() {
	if r.remote {
		r.running-- // it cleans up after itself
	}
	for ; r.running > 0; r.running-- {
		if res := <-r.results; res.link != nil {
			res.link.close()
		}
	}
}

// search looks for the device on the local network and reports its addresses.
func (c *Client) search(ctx context.Context, key latchkey.Fingerprint, found chan<- string, results chan<- result) {
	defer func() { results <- result{} }()
	select {
	case <-ctx.Done():
		return
	case <-time.After(discoverAfter):
	}
	ctx, cancel := context.WithTimeout(ctx, discoverFor)
	defer cancel()
	for f, err := range discover.Browse(ctx, discover.Options{Log: c.logger()}) {
		if err != nil {
			c.logger().Debug("no discovery", "err", err)
			return
		}
		if f.Key != key || f.Gone {
			continue
		}
		for _, a := range f.Addrs {
			select {
			case found <- a.String():
			case <-ctx.Done():
				return
			}
		}
	}
}

// maxResolved addresses of one name are tried.
const maxResolved = 4

// resolve returns the addresses that HOST:PORT stands for.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	if to, err := netip.ParseAddrPort(addr); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(to.Addr().Unmap(), to.Port())}, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxResolved)] {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	return list, nil
}
