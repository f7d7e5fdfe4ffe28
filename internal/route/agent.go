package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/ice/v4"

	"github.com/latchkey-dev/latchkey/internal/signal"
)

// How the agent works. It asks for checks every checkInterval while it has no
// pair and every 2 s afterwards; sendCheck lets fewer through.
const (
	checkInterval = 50 * time.Millisecond
	// maxChecks ends the checks of a pair without an answer after six seconds:
	// the peer, which learns of us later or earlier, has begun its own by then.
	maxChecks = 120
	// acceptAfter gives pairs of host addresses a start before others.
	acceptAfter = 100 * time.Millisecond
	// lostAfter is three checks without an answer.
	lostAfter = 13 * time.Second
)

const (
	maxHosts   = 8 // of our addresses that are tried
	maxRemotes = signal.MaxCandidates
	maxServers = 4 // STUN servers that are asked
	component  = ice.ComponentRTP
)

// newAgent makes the agent and learns its credentials.
func (r *Route) newAgent() error {
	n, err := r.hub.net()
	if err != nil {
		return fmt.Errorf("route: %w", err)
	}
	options := []ice.AgentOption{
		ice.WithNet(n),
		ice.WithUDPMux(mux{r}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}), // others are announced without the agent's knowledge
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithCheckInterval(checkInterval),
		ice.WithMaxBindingRequests(maxChecks),
		ice.WithSrflxAcceptanceMinWait(acceptAfter),
		ice.WithPrflxAcceptanceMinWait(acceptAfter),
		ice.WithDisconnectedTimeout(lostAfter),
		ice.WithFailedTimeout(0), // a lost pair may come back as long as the route lasts
		ice.WithLoggerFactory(loggers{r.cfg.Log, &r.secrets}),
	}
	if r.cfg.Loopback {
		options = append(options, ice.WithIncludeLoopback())
	}
	if r.agent, err = ice.NewAgentWithOptions(options...); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	if r.ufrag, r.pwd, err = r.agent.GetLocalUserCredentials(); err != nil {
		return errors.Join(err, r.agent.Close())
	}
	r.secrets.add(r.pwd)
	return nil
}

// gather lets the agent open its addresses and begins to listen to it.
func (r *Route) gather() error {
	return errors.Join(
		r.agent.OnCandidate(func(ice.Candidate) {}), // they are known
		r.agent.OnConnectionStateChange(func(s ice.ConnectionState) {
			r.report(func() { r.connected = s == ice.ConnectionStateConnected || s == ice.ConnectionStateCompleted })
		}),
		r.agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) {
			a, okA := addressOf(local)
			b, okB := addressOf(remote)
			if okA && okB {
				r.report(func() { r.selected = pair{a, b} })
			}
		}),
		r.agent.GatherCandidates(),
	)
}

func addressOf(c ice.Candidate) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(c.Address())
	if err != nil || c.Port() <= 0 || c.Port() > 0xFFFF {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(c.Port())), true
}

// hostCandidate describes one of our own addresses (RFC 8839).
func hostCandidate(a netip.AddrPort) (string, error) {
	c, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
		Network: "udp", Address: a.Addr().String(), Port: int(a.Port()), Component: component,
	})
	if err != nil {
		return "", err
	}
	return c.Marshal(), nil
}

// mappedCandidate describes the address that a NAT gives us. Checks of it
// arrive at our own address, so the agent need not know.
func mappedCandidate(a, base netip.AddrPort) (string, error) {
	c, err := ice.NewCandidateServerReflexive(&ice.CandidateServerReflexiveConfig{
		Network: "udp", Address: a.Addr().String(), Port: int(a.Port()), Component: component,
		RelAddr: base.Addr().String(), RelPort: int(base.Port()),
	})
	if err != nil {
		return "", err
	}
	return c.Marshal(), nil
}

// announce asks the STUN servers for our mapped addresses, tells the owner the
// new ones and then that there are no more.
func (r *Route) announce(ctx context.Context) {
	found := make(chan netip.AddrPort)
	servers := r.cfg.Servers[:min(len(r.cfg.Servers), maxServers)]
	for _, s := range servers {
		r.wait.Go(func() {
			a, err := r.hub.Mapped(ctx, s)
			if err != nil {
				r.cfg.Log.Debug("no mapped address", "op", "stun", "peer", s, "err", err)
			}
			found <- a
		})
	}
	known := slices.Clone(r.hosts)
	for range servers {
		a := <-found
		if !r.filter.local(a) || slices.Contains(known, a) {
			continue
		}
		known = append(known, a)
		for _, h := range r.hosts {
			if h.Addr().Is4() == a.Addr().Is4() {
				if c, err := mappedCandidate(a, h); err == nil {
					r.tell(ctx, c, false)
				}
				break
			}
		}
	}
	r.tell(ctx, "", true)
}

func (r *Route) tell(ctx context.Context, candidate string, last bool) {
	if ctx.Err() == nil && r.cfg.Candidate != nil {
		r.cfg.Candidate(candidate, last)
	}
}

// parseCandidate reads a candidate of the peer and refuses what the route does
// not use.
func parseCandidate(s string, f filter) (ice.Candidate, netip.AddrPort, error) {
	if len(s) > signal.MaxCandidateSize {
		return nil, netip.AddrPort{}, fmt.Errorf("route: candidate of %d bytes", len(s))
	}
	c, err := ice.UnmarshalCandidate(s)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("route: %w", err)
	}
	a, ok := addressOf(c)
	kind := c.Type()
	if !ok || !c.NetworkType().IsUDP() || c.Component() != component ||
		kind != ice.CandidateTypeHost && kind != ice.CandidateTypeServerReflexive && kind != ice.CandidateTypePeerReflexive {
		return nil, netip.AddrPort{}, errors.New("route: a kind of candidate that is not used")
	}
	if !f.remote(a) {
		return nil, netip.AddrPort{}, fmt.Errorf("route: candidate %v is not the address of a peer", a)
	}
	return c, a, nil
}
