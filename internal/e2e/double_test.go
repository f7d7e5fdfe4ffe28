package e2e

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/relay"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A double is a basestation that does what the test says. Peers know its key, so
// they believe that it is the basestation that it is not.
type double struct {
	t        *testing.T
	identity *latchkey.Identity
	addr     netip.AddrPort
	sock     packet.Conn
	dtls     *secure.Server
	relay    *relay.Server
	silent   atomic.Bool // the relay carries nothing

	mu     sync.Mutex
	script map[string]script
	legs   map[latchkey.Fingerprint]*dleg // the newest of each key
}

// A script answers a request.
type script func(l *dleg, r *coap.Request) *coap.Response

// A dleg is a peer that is connected to a double.
type dleg struct {
	*coap.Endpoint
	d   *double
	key latchkey.Fingerprint
}

// newDouble serves until the test ends. At first it lets everybody attach.
func newDouble(t *testing.T) *double {
	t.Helper()
	sock, err := packet.Listen("127.0.0.1:0", packet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := &double{
		t: t, identity: newIdentity(t), addr: sock.LocalAddrs()[0], sock: sock,
		script: make(map[string]script), legs: make(map[latchkey.Fingerprint]*dleg),
	}
	d.relay, err = relay.New(relay.Config{Send: func(b []byte, to netip.AddrPort) error {
		return sock.Send(b, to, netip.Addr{})
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.dtls = &secure.Server{
		Config: secure.Config{Identity: d.identity, Verify: func(secure.Peer) error { return nil }, Log: testLog(t)},
		Send:   sock.Send, Accept: d.carry, Limits: secure.Limits{PerPrefix: 256},
	}
	d.on(signal.PathAttach, d.attached(time.Now))
	d.on(signal.PathTokens, always(coap.Changed, nil))
	d.on(signal.PathLeave, always(coap.Changed, nil))
	d.on(signal.PathCandidates, always(coap.Changed, nil))
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		_ = sock.Serve(ctx, func(b []byte, m packet.Meta) {
			switch {
			case len(b) == 0:
			case b[0] <= 3 || b[0] >= 64 && b[0] <= 79:
				if !d.silent.Load() {
					d.relay.Deliver(b, m.Src)
				}
			default:
				d.dtls.Deliver(b, m)
			}
		})
	})
	t.Cleanup(func() {
		d.dtls.Close()
		d.relay.Close()
		cancel()
		work.Wait()
		_ = sock.Close()
	})
	return d
}

// attached answers a device with the time of a clock.
func (d *double) attached(now func() time.Time) script {
	return func(*dleg, *coap.Request) *coap.Response {
		return message(d.t, coap.Created, &signal.Attached{Time: now()})
	}
}

// on sets what answers a request.
func (d *double) on(path string, s script) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.script[path] = s
}

func always(code coap.Code, body []byte) script {
	return func(*dleg, *coap.Request) *coap.Response {
		r := coap.NewResponse(code)
		if body != nil {
			r.Format, r.Body = coap.CBOR, body
		}
		return r
	}
}

// message is a response that carries m.
func message(t *testing.T, code coap.Code, m signal.Message) *coap.Response {
	t.Helper()
	body, err := signal.Marshal(m)
	if err != nil {
		t.Error(err)
		return coap.NewResponse(coap.InternalServerError)
	}
	r := coap.NewResponse(code)
	r.Format, r.Body = coap.CBOR, body
	return r
}

func (d *double) carry(c *secure.Conn) {
	l := &dleg{d: d, key: c.Peer().Key}
	l.Endpoint = coap.New(coap.Config{
		MaxBody: signal.MaxTokensMessage, Workers: 64, Queue: 256, InFlight: 4096, Log: testLog(d.t),
		Send: func(b []byte) error {
			_, err := c.Write(b)
			return err
		},
		Handler: func(_ context.Context, r *coap.Request) *coap.Response {
			var s script
			if len(r.Path) == 1 {
				d.mu.Lock()
				s = d.script[r.Path[0]]
				d.mu.Unlock()
			}
			if s == nil {
				return coap.NewResponse(coap.NotFound)
			}
			return s(l, r)
		},
	})
	d.mu.Lock()
	d.legs[l.key] = l
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { tick(ctx, l.Endpoint) })
	_ = c.Serve(func(b []byte) {
		if len(b) > 0 && b[0] >= 0x40 && b[0] <= 0x7f {
			l.Deliver(b)
		}
	})
	cancel()
	l.Close()
	l.Wait()
	work.Wait()
}

func tick(ctx context.Context, e *coap.Endpoint) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			e.Tick(now)
		case <-ctx.Done():
			return
		}
	}
}

// leg waits for a peer to be connected.
func (d *double) leg(key latchkey.Fingerprint) *dleg {
	d.t.Helper()
	var l *dleg
	await(d.t, "a peer is connected to the double", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		l = d.legs[key]
		return l != nil
	})
	return l
}

// call sends what may be no valid message, and returns the answer.
func (l *dleg) call(ctx context.Context, path string, body []byte) (*coap.Response, error) {
	r := coap.NewRequest(coap.POST, path)
	r.Format, r.Body = coap.CBOR, body
	return l.Do(ctx, r)
}

// tell sends a message and returns the answer.
func (l *dleg) tell(t *testing.T, path string, m signal.Message) *coap.Response {
	t.Helper()
	body, err := signal.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := l.call(deadline(t), path, body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return answer
}

// codeOf is the reason in an answer, 0 in one that grants.
func codeOf(r *coap.Response) latchkey.Code {
	code, _ := coap.CodeOf(r)
	return code
}

// offerOf is an offer that id signed, changed before.
func offerOf(t *testing.T, id *latchkey.Identity, role byte, session signal.SessionID, dev latchkey.DeviceID, change func(*signal.Offer)) signal.Offer {
	t.Helper()
	o := signal.Offer{Session: session, Device: dev, Role: role, Ufrag: "abcdefgh", Pwd: "abcdefghijklmnopqrstuvwx"}
	if change != nil {
		change(&o)
	}
	if err := o.Sign(id); err != nil {
		t.Fatal(err)
	}
	return o
}

// deceived is a device, attached to a double, and its owner, who knows both.
func deceived(t *testing.T, change func(*device.Device)) (*double, *testDevice, *client.Client) {
	t.Helper()
	d := newDouble(t)
	dev := &device.Device{
		Identity: newIdentity(t), ID: latchkey.DeviceID{Product: "acme", Device: "gw1"},
		Basestations: []string{d.addr.String()}, BasestationKey: d.identity.Fingerprint(),
	}
	if change != nil {
		change(dev)
	}
	td, c, conn := owned(t, dev)
	t.Cleanup(func() { _ = c.Close() })
	_ = conn.Close()
	await(t, "attached to the double", func() bool {
		status, err := td.Status()
		return err == nil && status.Attach.State == "attached" && status.Attach.Tokens > 0
	})
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a token in devices.json", func() bool {
		known, err := known.Lookup("home")
		return err == nil && !known.Token.IsZero()
	})
	return d, td, c
}

// identityOf is the key of a client.
func identityOf(t *testing.T, c *client.Client) *latchkey.Identity {
	t.Helper()
	id, err := c.OpenIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// lan shows that the owner uses the device on its own network.
func lan(t *testing.T, c *client.Client) {
	t.Helper()
	conn, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaLocal})
	if err != nil {
		t.Fatalf("on the device's own network: %v", err)
	}
	defer conn.Close()
	if _, err := conn.Get(deadline(t), "/me"); err != nil {
		t.Errorf("on the device's own network: %v", err)
	}
}

func withAccess(store *acl.Store) func(*device.Device) {
	return func(d *device.Device) { d.Access = store }
}
