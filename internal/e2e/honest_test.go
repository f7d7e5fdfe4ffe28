package e2e

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A record is what a basestation has seen of introductions.
type record struct {
	mu       sync.Mutex
	connects []signal.Connect
	answers  []signal.Offer
	grants   []signal.Grant
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.connects)
}

// introduces makes the double do its duty for one device, and remember all of it.
// It opens the gate to everybody.
func (d *double) introduces(device latchkey.Fingerprint) *record {
	d.t.Helper()
	seen := &record{}
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	d.t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	d.on(signal.PathConnect, func(client *dleg, r *coap.Request) *coap.Response {
		var ask signal.Connect
		if err := signal.Unmarshal(r.Body, &ask); err != nil {
			d.t.Errorf("a connect request: %v", err)
			return coap.NewResponse(coap.BadRequest)
		}
		mine, its, _, err := d.relay.Grant(client.key, device, time.Now())
		if err != nil {
			d.t.Error(err)
			return coap.NewResponse(coap.InternalServerError)
		}
		seen.mu.Lock()
		seen.connects, seen.grants = append(seen.connects, ask), append(seen.grants, mine, its)
		seen.mu.Unlock()
		work.Go(func() { d.bring(ctx, client, device, ask.Offer, its, seen) })
		return message(d.t, coap.Created, &signal.Connected{Session: ask.Offer.Session, Relay: &mine})
	})
	return seen
}

// bring carries the offers there and back.
func (d *double) bring(ctx context.Context, client *dleg, device latchkey.Fingerprint, offer signal.Offer, grant signal.Grant, seen *record) {
	body, err := signal.Marshal(&signal.Introduce{Session: offer.Session, Client: client.key, Offer: offer, Relay: &grant})
	if err != nil {
		d.t.Error(err)
		return
	}
	d.mu.Lock()
	leg := d.legs[device]
	d.mu.Unlock()
	answer, err := leg.call(ctx, signal.PathIntroduce, body)
	if err != nil {
		return // the test is over
	}
	back := &signal.Answer{Session: offer.Session, Code: codeOf(answer)}
	if answer.Code == coap.Created {
		var m signal.Introduced
		if err := signal.Unmarshal(answer.Body, &m); err != nil {
			d.t.Error(err)
			return
		}
		back.Offer = &m.Offer
		seen.mu.Lock()
		seen.answers = append(seen.answers, m.Offer)
		seen.mu.Unlock()
	}
	if body, err = signal.Marshal(back); err != nil {
		d.t.Error(err)
		return
	}
	_, _ = client.call(ctx, signal.PathAnswer, body)
}

// relayed opens the relayed connection that a grant allows.
func relayed(t *testing.T, server netip.AddrPort, g *signal.Grant) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.String(), Conn: conn, Username: g.Username, Password: g.Password,
		RequestedAddressFamily: turn.RequestedAddressFamilyIPv4,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = relay.Close() // the basestation may have ended it
		c.Close()
		_ = conn.Close()
	})
	return relay
}
