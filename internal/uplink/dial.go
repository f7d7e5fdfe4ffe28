package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// tlsAfter is how long UDP has the field for itself.
	tlsAfter = 400 * time.Millisecond
	// nextAfter is the Connection Attempt Delay (RFC 8305 section 5).
	nextAfter = 250 * time.Millisecond
	// lookupTime bounds looking up one name, attemptTime one TLS connection.
	lookupTime  = 5 * time.Second
	attemptTime = 15 * time.Second
)

var errTwice = errors.New("uplink: the same addresses as another name")

// Dial connects to the basestation. Its error says for each way why it failed:
// errors.Is finds latchkey.ErrIdentityChanged if another key answered (a
// *KeyError), latchkey.ErrHandshakeRefused if the basestation refused our key,
// ErrProxy if a proxy did not connect us (a *ProxyError), and ErrUnreachable if
// nobody answered; and the cause of ctx if that ended first.
func Dial(ctx context.Context, cfg Config) (*Uplink, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &dialer{cfg: cfg.withDefaults(), taken: make(map[target]bool)}
	var ways []attempt
	if d.cfg.Transports != TLS && d.cfg.Socket != nil {
		ways = append(ways, d.overUDP)
	}
	if d.cfg.Transports != UDP {
		ways = append(ways, d.overTLS)
	}
	u, err := race(ctx, tlsAfter, ways)
	if err != nil && ctx.Err() != nil {
		return nil, failures{context.Cause(ctx), err}
	}
	return u, err
}

// A dialer is one call of Dial.
type dialer struct {
	cfg Config

	mu    sync.Mutex
	taken map[target]bool // which addresses have been tried
}

type target struct {
	transport string
	to        netip.AddrPort
}

// take reports whether an address has not been tried yet: two names may stand
// for the same one.
func (d *dialer) take(t target) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken[t] {
		return false
	}
	d.taken[t] = true
	return true
}

// An attempt tries one way, which may fork.
type attempt func(ctx context.Context) (*Uplink, error)

// race begins the attempts one after the other, the next when pause has passed
// or the one before has failed. The first success counts; the others are given
// up, and race returns when they have ended.
func race(ctx context.Context, pause time.Duration, attempts []attempt) (*Uplink, error) {
	type result struct {
		u   *Uplink
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	next := time.NewTimer(0)
	defer next.Stop()
	var won *Uplink
	var failed failures
	for running := 0; running > 0 || won == nil && len(attempts) > 0 && ctx.Err() == nil; {
		select {
		case <-next.C:
			if won != nil || len(attempts) == 0 || ctx.Err() != nil {
				continue
			}
			try := attempts[0]
			attempts = attempts[1:]
			running++
			go func() { // ends before race returns
				u, err := try(ctx)
				results <- result{u, err}
			}()
			next.Reset(pause)
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				failed = append(failed, r.err)
				next.Reset(0)
			case won != nil:
				r.u.Close()
			default:
				won = r.u
				cancel()
			}
		}
	}
	switch {
	case won != nil:
		return won, nil
	case len(failed) == 0:
		return nil, context.Cause(ctx)
	}
	return nil, failed
}

// overUDP tries all addresses.
func (d *dialer) overUDP(ctx context.Context) (*Uplink, error) {
	var attempts []attempt
	for _, addr := range d.cfg.Addrs {
		attempts = append(attempts, func(ctx context.Context) (*Uplink, error) {
			return d.each(ctx, OverUDP, addr, d.udp)
		})
	}
	return race(ctx, nextAfter, attempts)
}

// overTLS tries all addresses, directly or through their proxies.
func (d *dialer) overTLS(ctx context.Context) (*Uplink, error) {
	var attempts []attempt
	for _, addr := range d.cfg.Addrs {
		attempts = append(attempts, func(ctx context.Context) (*Uplink, error) {
			proxy, err := d.cfg.Proxy(&url.URL{Scheme: "https", Host: addr})
			switch {
			case err != nil: // its text may contain the proxy's password
				return nil, explain(OverTLS, addr, &ProxyError{Proxy: "setting", Cause: errProxySetting})
			case proxy != nil:
				u, err := d.tls(ctx, way{addr: addr, proxy: proxy})
				if err != nil {
					return nil, explain(OverTLS, addr, err)
				}
				return u, nil
			}
			return d.each(ctx, OverTLS, addr, func(ctx context.Context, to netip.AddrPort) (*Uplink, error) {
				return d.tls(ctx, way{addr: addr, to: to})
			})
		})
	}
	return race(ctx, nextAfter, attempts)
}

// each races the addresses that addr, "host:port", stands for.
func (d *dialer) each(ctx context.Context, transport, addr string, dial func(context.Context, netip.AddrPort) (*Uplink, error)) (*Uplink, error) {
	list, err := lookup(ctx, addr)
	if err != nil {
		return nil, explain(transport, addr, err)
	}
	var attempts []attempt
	for _, to := range list {
		if !d.take(target{transport, to}) {
			continue
		}
		attempts = append(attempts, func(ctx context.Context) (*Uplink, error) {
			u, err := dial(ctx, to)
			if err != nil {
				return nil, explain(transport, to.String(), err)
			}
			return u, nil
		})
	}
	if len(attempts) == 0 {
		return nil, explain(transport, addr, errTwice)
	}
	return race(ctx, nextAfter, attempts)
}

// lookup returns the addresses of "host:port" in the order to try them.
func lookup(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return nil, &net.AddrError{Err: "bad port", Addr: addr}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, ip := range interleave(found) {
		list = append(list, netip.AddrPortFrom(ip, uint16(port)))
	}
	return list, nil
}

// interleave lets the families take turns, beginning with that of the address
// which the system prefers (RFC 8305 section 4).
func interleave(list []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, ip := range list {
		ip = ip.Unmap()
		family := 0
		if ip.Is4() != list[0].Unmap().Is4() {
			family = 1
		}
		families[family] = append(families[family], ip)
	}
	var out []netip.Addr
	for i := range list {
		for _, f := range families {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}
