// Package basestation introduces clients to devices that they cannot reach by
// themselves, and relays for those whose networks leave no other way.
//
// A whole basestation:
//
//	s := &basestation.Server{
//		Dir:         "/var/lib/latchkey-basestation",
//		PublicAddrs: []string{"203.0.113.5:5684"},
//	}
//	log.Fatal(s.ListenAndServe(context.Background()))
//
// # What it is trusted with
//
// Reachability, and nothing else. A peer knows the basestation by the fingerprint
// of its key. What peers say to each other is encrypted from end to end; the
// offers of an introduction are signed by their keys, so that a basestation which
// swaps anything in them achieves a failed connection. The registry says which
// key may attach as which device; the gate says which client may be introduced to
// it. The device asks again, for every operation.
//
// # One UDP and one TCP port
//
//	udp.go    the first byte tells STUN and TURN from DTLS (RFC 7983)
//	tcp.go    TLS or plain TURN; in TLS the ALPN tells CoAP, TURN and HTTPS apart
//	leg.go    a peer whose key is proven, on either
//
// # The life of an introduction
//
//  1. The device has attached: its key belongs to its id (attach.go), and it is
//     now the newest that proved so (presence.go).
//  2. A client sends connect with a signed offer and a token. Until the gate has
//     said yes, nothing is sent towards the device, and all refusals look the
//     same (gate.go, connect.go).
//  3. Both get a grant for the relay, and the device gets the client's offer. Its
//     own goes back in an answer (introduce.go).
//  4. Candidates that are found later travel the same way (candidates.go).
//  5. It ends when one of them leaves or is gone for a minute, and its relay with
//     it.
package basestation
