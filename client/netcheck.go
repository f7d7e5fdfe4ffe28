package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// netcheckTime bounds a Netcheck.
const netcheckTime = 5 * time.Second

// A Netcheck is what can be told of the network between here and a basestation.
type Netcheck struct {
	Basestation []string             `json:"basestation"` // HOST:PORT
	Key         latchkey.Fingerprint `json:"key"`

	UDP Reach `json:"udp"`
	TLS Reach `json:"tls"`

	IPv4 Family `json:"ipv4"`
	IPv6 Family `json:"ipv6"`

	// Transport is what this network needs: "udp", "tls" where UDP is blocked,
	// or "" if the basestation cannot be reached.
	Transport string `json:"transport"`
	// Direct says what may be hoped of paths from address to address: "likely",
	// "some" if they depend on the other side, "unknown" or "no"; "" if the
	// basestation cannot be reached.
	Direct string `json:"direct"`
}

// A Reach is whether and how fast the basestation answers over one transport,
// with its own key.
type Reach struct {
	OK           bool           `json:"ok"`
	Addr         netip.AddrPort `json:"addr,omitzero"`   // that answered; none through a proxy
	Proxy        string         `json:"proxy,omitempty"` // host:port
	Milliseconds float64        `json:"ms,omitempty"`    // a round trip, the best of three
	Error        string         `json:"error,omitempty"`
}

// Netcheck asks a basestation, known by its key, how it sees this machine. What
// fails is part of the answer; an error means that nothing could be tried.
func (c *Client) Netcheck(ctx context.Context, addrs []string, key latchkey.Fingerprint) (*Netcheck, error) {
	if len(addrs) == 0 || key.IsZero() {
		return nil, ErrNoBasestation
	}
	identity, err := c.OpenIdentity()
	if err != nil {
		return nil, err
	}
	first, err := openProbe(c.logger())
	if err != nil {
		return nil, err
	}
	defer first.close()
	second, err := openProbe(c.logger())
	if err != nil {
		return nil, err
	}
	defer second.close()
	given := ctx
	ctx, cancel := context.WithTimeout(ctx, netcheckTime)
	defer cancel()
	n := &Netcheck{Basestation: addrs, Key: key}
	config := uplink.Config{Identity: identity, Addrs: addrs, Key: key, Socket: first, Log: c.logger()}
	var work sync.WaitGroup
	work.Go(func() { n.UDP = reachBy(ctx, config, uplink.UDP) })
	work.Go(func() {
		n.TLS = reachBy(ctx, config, uplink.TLS)
		n.TLS.Proxy = proxyFor(addrs)
	})
	work.Go(func() {
		v4, v6 := serversOf(ctx, addrs)
		n.IPv4 = checkFamily(ctx, first, second, v4, netip.Addr.Is4)
		n.IPv6 = checkFamily(ctx, first, second, v6, netip.Addr.Is6)
	})
	work.Wait()
	n.conclude()
	return n, context.Cause(given)
}

// reachBy connects over one transport and measures round trips.
func reachBy(ctx context.Context, config uplink.Config, by uplink.Transports) Reach {
	config.Transports = by
	leg, err := uplink.Dial(ctx, config)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return Reach{Error: fmt.Sprintf("no answer within %s", netcheckTime)}
	case err != nil:
		return Reach{Error: err.Error()}
	}
	defer leg.Close()
	r := Reach{Addr: leg.Remote()}
	for range 3 {
		began := time.Now()
		if err := leg.CoAP().Ping(ctx); err != nil {
			return Reach{Addr: leg.Remote(), Error: err.Error()}
		}
		if ms := milliseconds(time.Since(began)); !r.OK || ms < r.Milliseconds {
			r.OK, r.Milliseconds = true, ms
		}
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// proxyFor names the proxy that the environment wants for TLS; "" for none.
func proxyFor(addrs []string) string {
	for _, addr := range addrs {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
		if err == nil && proxy != nil {
			return proxy.Host // without its password
		}
	}
	return ""
}

// serversOf resolves the addresses of a basestation. Names that cannot be looked
// up have failed for UDP and TLS too, which tell.
func serversOf(ctx context.Context, addrs []string) (v4, v6 []netip.AddrPort) {
	for _, addr := range addrs {
		list, err := resolve(ctx, addr)
		if err != nil {
			continue
		}
		for _, a := range list {
			if a.Addr().Is4() {
				v4 = append(v4, a)
			} else {
				v6 = append(v6, a)
			}
		}
	}
	return v4, v6
}

// conclude draws the conclusions from the measurements.
func (n *Netcheck) conclude() {
	switch {
	case n.UDP.OK:
		n.Transport = uplink.OverUDP
	case n.TLS.OK:
		n.Transport = uplink.OverTLS
		n.Direct = "no"
		return
	default:
		return
	}
	best := 0
	for _, f := range []Family{n.IPv4, n.IPv6} {
		best = max(best, hope[f.Mapping])
	}
	n.Direct = [...]string{"unknown", "some", "likely"}[best]
}

// hope is how much each kind of mapping promises.
var hope = map[string]int{MappingNone: 2, MappingSame: 2, MappingPerTarget: 1}

var errNoAnswer = errors.New("the basestation does not answer STUN requests")
