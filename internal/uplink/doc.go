// Package uplink is a peer's leg to its basestation: CoAP on DTLS over UDP or,
// where UDP does not get through, on TLS 1.3 over TCP (RFC 8323), directly or
// through an HTTP proxy. Above it nobody sees a difference.
//
// Dial tries every address of the basestation, each a little later than the one
// before (RFC 8305), and TLS after 400 ms without an answer over UDP. The first
// way on which both sides have accepted each other's key wins, and the others
// are given up. The basestation is known by the fingerprint of its key, the
// same on UDP and TCP; names, dates and issuers of its certificate do not
// matter, so neither a proxy nor a name server can put another one in its place.
//
// An Uplink does not dial again. It ends once, and the cause of its Context says
// why; whoever owns it decides when to try the next time.
//
//	up, err := uplink.Dial(ctx, uplink.Config{Identity: id, Addrs: addrs, Key: pin, Socket: socket})
//	...
//	answer, err := up.CoAP().Do(ctx, request)
//	<-up.Context().Done() // context.Cause(up.Context()) says why
package uplink
