// Command thermostat is a device with state: a temperature that can be observed
// and a target that can be set. Clients that observe are told of each change.
//
//	latchkey coap observe home /temperature
//	latchkey coap put home /target --data 23.5
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A thermostat lets its temperature drift towards its target.
type thermostat struct {
	mu                  sync.Mutex
	temperature, target float64
}

// step moves a tenth of a degree and reports whether that changed anything.
func (t *thermostat) step() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch gap := t.target - t.temperature; {
	case gap > 0.05:
		t.temperature += 0.1
	case gap < -0.05:
		t.temperature -= 0.1
	default:
		return false
	}
	return true
}

func (t *thermostat) getTemperature(w device.ResponseWriter, _ *device.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "%.1f", t.temperature)
}

func (t *thermostat) getTarget(w device.ResponseWriter, _ *device.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "%.1f", t.target)
}

func (t *thermostat) putTarget(w device.ResponseWriter, r *device.Request) {
	degrees, err := strconv.ParseFloat(strings.TrimSpace(string(r.Body)), 64)
	if err != nil || math.IsNaN(degrees) || degrees < 5 || degrees > 30 {
		device.Error(w, fmt.Errorf("%w: a target is 5 to 30 degrees", latchkey.ErrProtocol))
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.target = degrees
}

// mux says which resource is which method.
func (t *thermostat) mux() *device.Mux {
	mux := device.NewMux()
	mux.HandleObservable("GET /temperature", device.HandlerFunc(t.getTemperature))
	mux.HandleFunc("GET /target", t.getTarget)
	mux.HandleFunc("PUT /target", t.putTarget)
	return mux
}

// run drifts until ctx ends and calls changed after each change.
func (t *thermostat) run(ctx context.Context, every time.Duration, changed func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if t.step() {
				changed()
			}
		}
	}
}

func main() {
	addr := flag.String("listen", device.DefaultAddr, "UDP `HOST:PORT`")
	every := flag.Duration("every", time.Second, "`PAUSE` between steps")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t := &thermostat{temperature: 20, target: 21}
	d := &device.Device{
		Dir: "device-state", Name: "Thermostat", Addr: *addr, Handler: t.mux(), Pairing: pairing.LocalInitial,
		Ready: func(i device.Info) { fmt.Println(i.PairingURL.Reveal()) },
	}
	var work sync.WaitGroup
	work.Go(func() { t.run(ctx, *every, func() { d.Notify("/temperature") }) })
	err := d.ListenAndServe(ctx)
	stop()
	work.Wait()
	if err != nil {
		log.Fatal(err)
	}
}
