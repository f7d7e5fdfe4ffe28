package discover

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"
)

// Browse looks for devices on the local network until ctx ends or the caller
// has seen enough. It yields each device when it is found, again when its name,
// id, key or addresses change, and with Gone when it leaves. The only error it
// yields is that multicast is not available, at once and alone. While the caller
// holds on to a device, little is queued and the rest dropped; it comes again.
func Browse(ctx context.Context, o Options) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		n, err := open(o.Loopback, func(netip.Addr) bool { return true })
		if err != nil {
			yield(Found{}, fmt.Errorf("discover: browse: %w", err))
			return
		}
		defer n.close()
		b := newBrowser(time.Now())
		n.pump(ctx, nil, b.next, func(now time.Time, d *datagram, looked bool) bool {
			if looked {
				b.again(now)
			}
			if d != nil {
				if m, ok := parse(d.b); ok {
					b.handle(now, &m, d.link)
				}
			}
			if q := b.query(now); q != nil {
				for on := range n.outlets() {
					n.send(packet{b: q, on: on})
				}
			}
			for _, f := range b.look(now) {
				if !yield(f, nil) {
					return false
				}
			}
			return true
		})
	}
}
