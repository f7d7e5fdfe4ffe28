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
//
// # The end of a right
//
// What is under way is judged again (revoke.go) when the store changes, when a
// token, a key or a user expires, when the kind of path changes, and, if the
// store's own policies decide, at each full minute, because they know times of
// day. A no ends it at once: a request is answered although its handler still
// runs (running.go), a tunnel is reset, an observation gets its last
// notification. An AuthorizeFunc that decides by anything else than the store says
// that it would decide otherwise now by Device.Review.
//
// # Who a peer is
//
// A key that belongs to a user is that user. A key that does not may log in with
// a token (login.go), which counts for the session until it expires. Who has
// neither is a stranger, who can pair and nothing else, and is let into a session
// only while something is open to strangers.
//
// All of this is told to Device.Audit (audit.go), in both outcomes.
package device
