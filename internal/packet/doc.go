// Package packet carries datagrams between the operating system and the rest
// of Latchkey. It knows addresses, interfaces and hop limits, and nothing of
// what is in a datagram.
//
// Datagrams are pushed: Conn.Serve calls a handler with each one and with its
// Meta, the facts about its arrival that a security decision may need later:
// who sent it, to which of our addresses, through which interface, with which
// hop limit. Conn.Send is the way back. There are two implementations, the UDP
// sockets that Listen opens and the in-memory networks of internal/netlab.
//
// OnLink answers the one question about the world that the facts of a datagram
// cannot: is its source on a network that this machine is attached to?
package packet
