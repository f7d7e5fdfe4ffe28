// Command device is a whole device: one resource, one service, and a pairing
// URL on stdout for the first client on this network, which becomes the owner.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

func main() {
	addr := flag.String("listen", device.DefaultAddr, "UDP `HOST:PORT`")
	flag.Parse()
	mux := device.NewMux()
	mux.HandleFunc("GET /temperature", func(w device.ResponseWriter, r *device.Request) {
		fmt.Fprintf(w, "21.5 for %s", r.User)
	})
	d := &device.Device{Dir: "device-state", Addr: *addr, Handler: mux, Pairing: pairing.LocalInitial}
	d.Services = []device.Service{{ID: "ssh", Target: "tcp://127.0.0.1:22"}}
	d.Ready = func(i device.Info) { fmt.Println(i.PairingURL.Reveal()) }
	log.Fatal(d.ListenAndServe(context.Background()))
}
