// Package webhook lets a program of the device's owner decide what peers may do.
//
// The device's door asks a Client in place of the policies. The Client posts the
// request to the owner's program, over a Unix socket or HTTPS, in the shape of
// Open Policy Agent's Data API, and awaits yes or no:
//
//	{"input": {"device": "acme/gw1", "action": "coap:get", ...}}
//	{"result": true}
//
// docs/authorize.md explains every field of the input.
//
// Only that answer, with status 200, is a yes. Everything else refuses: no
// answer in time, any other status, a redirect, a text where the truth value
// should be, a member result that is missing or there twice, more than 64 KiB.
// What the program is told holds no secrets: of a token there are the claims,
// never the token itself.
//
// A question has no effect, so a Client asks again by itself when a connection
// that was kept turns out to be closed. It starts no goroutines but those of
// net/http, which end with Close.
package webhook
