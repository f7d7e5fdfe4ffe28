package route

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/secure"
)

// A mate is one side of a session over a relay and a direct path.
type mate struct {
	conn    *secure.Conn
	carrier *Carrier
	paths   [2]*Path
	broken  atomic.Bool // what it sends by the direct path is lost
}

// join gives from its two ways to reach to: a fast relay, and a slow direct path.
func join(from, to *mate) {
	from.carrier = NewCarrier()
	for i, w := range []struct {
		kind   Kind
		remote netip.AddrPort
		delay  time.Duration
	}{
		{Relay, netip.MustParseAddrPort("240.1.2.3:4000"), 10 * time.Millisecond},
		{Direct, netip.MustParseAddrPort("192.0.2.1:5690"), 150 * time.Millisecond},
	} {
		p := &Path{kind: w.kind}
		p.link.Store(&link{func(b []byte) error {
			if w.kind == Direct && from.broken.Load() {
				return nil
			}
			kept := bytes.Clone(b)
			time.AfterFunc(w.delay, func() {
				if to.conn.Deliver(kept, packet.Meta{Src: w.remote}) {
					to.carrier.Heard(to.paths[i])
				}
			})
			return nil
		}, w.remote})
		from.paths[i] = p
	}
}

// TestSlowerDirectPath has a direct path that is slower than the relay, so that
// nothing new ever comes by it while both are used. It is used all the same, and
// used again after it has failed.
func TestSlowerDirectPath(t *testing.T) {
	config := func() secure.Config {
		id, err := latchkey.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		return secure.Config{Identity: id, Verify: func(secure.Peer) error { return nil }, Log: quiet}
	}
	clientConfig, deviceConfig := config(), config()
	// apart is the time between the failures of its directions.
	for _, apart := range []time.Duration{0, 700 * time.Millisecond, 2500 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, err := secure.Pipe(t.Context(), clientConfig, deviceConfig)
				if err != nil {
					t.Fatal(err)
				}
				client, device := &mate{conn: a}, &mate{conn: b}
				join(client, device)
				join(device, client)
				for _, e := range []*mate{client, device} {
					e.conn.SetSend(e.carrier.Send)
					go e.conn.Serve(func(b []byte) {
						if e == device {
							time.AfterFunc(0, func() { e.conn.Write(b) })
						}
					})
					for _, p := range e.paths {
						e.carrier.Add(p)
					}
				}
				talk := func(d time.Duration) {
					for range d / (100 * time.Millisecond) {
						client.conn.Write([]byte("?"))
						client.carrier.Tick(time.Now())
						time.Sleep(100 * time.Millisecond)
						device.carrier.Tick(time.Now())
					}
				}
				on := func(what string, want Kind) {
					for who, e := range map[string]*mate{"client": client, "device": device} {
						if kind, _, _ := e.carrier.Current(); kind != want {
							t.Errorf("%s: the %s is on the %s path", what, who, kind)
						}
					}
				}
				talk(5 * time.Second)
				on("from the beginning", Direct)
				client.broken.Store(true)
				talk(apart)
				device.broken.Store(true)
				talk(3 * time.Second)
				on("while it is broken", Relay)
				client.broken.Store(false)
				device.broken.Store(false)
				talk(30 * time.Second)
				on("when it works again", Direct)
				client.conn.Close()
				device.conn.Close()
				time.Sleep(time.Second)
			})
		})
	}
}
