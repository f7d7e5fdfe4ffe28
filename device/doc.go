// Package device runs a device: it answers CoAP requests and opens tunnels for
// peers that hold an allowed key, and asks one hook before each of them.
//
// A whole device:
//
//	mux := device.NewMux()
//	mux.HandleFunc("GET /temperature", func(w device.ResponseWriter, r *device.Request) {
//		fmt.Fprint(w, "21.5")
//	})
//	d := &device.Device{
//		Dir:      "/var/lib/thermostat",
//		Handler:  mux,
//		Services: []device.Service{{ID: "ssh", Target: "tcp://127.0.0.1:22"}},
//		Pairing:  pairing.LocalInitial,
//		Ready:    func(i device.Info) { fmt.Println(i.PairingURL.Reveal()) },
//	}
//	log.Fatal(d.ListenAndServe(context.Background()))
//
// # The life of a request
//
//  1. internal/packet reads a datagram, internal/secure opens its record:
//     from here on the peer's key is proven.
//  2. internal/session hands CoAP to internal/coap, which puts blocks together
//     within limits and calls the device on one of a few workers.
//  3. The path is cleaned once, and looked up: built-in resource, route of the
//     configuration, or Handler. Nothing has happened yet but naming.
//  4. The door (gate.go) asks AuthorizeFunc about exactly that name.
//  5. Only with the pass that the door made does the operation run, and it
//     takes its path, upstream URL or service from the pass.
//
// Tunnels take the same way: the client names a service, the door judges that
// name together with what it leads to, and the dialer takes both from the pass.
package device
