// Package relay answers STUN and TURN (RFC 8489, RFC 8656) on the ports that
// the basestation has anyway, and relays between the two sides of a session.
// It is the only package that knows the TURN server library.
//
// # A relayed address is a name
//
// Each session gets a [Server.Grant]: two user names, two passwords and two
// addresses out of 240.0.0.0/4, which no network routes. Nobody listens on
// them. What one side sends to the other's name goes to the other side's
// allocation in memory, and there is no other destination: a permission or a
// channel for any other address is refused, and a datagram for one is dropped
// even if it were not. So nothing leaves except through the ports of the
// basestation to peers that hold the other half of the same grant. There is no
// network behind the relay, no range of ports to open, and nothing to exhaust.
//
// # Who may relay
//
// A user name is random, says nothing about its owner, and allows one
// allocation at a time. It has to be used before it expires; an allocation that
// lives is kept alive with it for as long as the grant lasts. A grant ends when
// its end function is called, when its time or its bytes are used up, or when
// it is past its first use and neither side is allocated. TCP relaying (RFC
// 6062) and address reservation are off.
//
// # How datagrams travel
//
// [Server.Deliver] takes datagrams of the one UDP socket, [Server.ServeConn] an
// accepted TCP or TLS connection. Channel data is forwarded on the caller's
// goroutine, from one 5-tuple to the other, without an allocation and without
// the TURN library. Binding requests are answered at once, and requests without
// credentials with a challenge of the library that serves all. Everything else
// queues for the library, requests of those who are allocated or whose user name
// is good before requests of strangers.
//
// Nothing waits: a datagram that finds a queue full, or its session above its
// rate, is dropped, the newest first.
//
// # Strangers
//
// Answers to sources that are not proven come out of a budget, see package
// budget. A binding request gets the smallest answer there is: the mapped
// address, and a fingerprint if the request had one. No answer carries the name
// of software or a reason in words.
package relay
