// Command authorize is a device whose owner is asked before every operation: a
// question on stdout, y or anything else on stdin. The hook replaces the
// policies, so nothing happens without a y, not even pairing.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// An owner answers questions, one after the other.
type owner struct {
	mu      sync.Mutex
	answers chan string
}

// authorize is the device's AuthorizeFunc. Everything in r is proven but the
// wish itself: Action and Resource. When ctx ends before the answer, the device
// refuses.
func (o *owner) authorize(ctx context.Context, r *acl.Request) error {
	if r.Listing || r.Action == acl.SelfRead { // only the caller's own name and rights would be shown
		return nil
	}
	who := r.User
	if who == "" {
		who = "stranger " + r.Peer.Short()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Printf("%s wants %s on %s [y/N]\n", who, r.Action, r.Resource)
	select {
	case answer := <-o.answers:
		if answer == "y" {
			return nil
		}
		return fmt.Errorf("%w: the owner said %q", latchkey.ErrForbidden, answer)
	case <-ctx.Done():
		return errors.Join(latchkey.ErrForbidden, ctx.Err())
	}
}

func main() {
	addr := flag.String("listen", device.DefaultAddr, "UDP `HOST:PORT`")
	flag.Parse()
	o := &owner{answers: make(chan string)}
	go func() { // ends with the process
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			o.answers <- in.Text()
		}
	}()
	mux := device.NewMux()
	mux.HandleFunc("PUT /door", func(w device.ResponseWriter, r *device.Request) {
		fmt.Fprintf(w, "the door is %s", r.Body)
	})
	d := &device.Device{
		Dir: "device-state", Addr: *addr, Handler: mux, Authorize: o.authorize, Pairing: pairing.LocalInitial,
		Ready: func(i device.Info) { fmt.Println(i.PairingURL.Reveal()) },
	}
	log.Fatal(d.ListenAndServe(context.Background()))
}
