// Package tunnel joins a tunnel's stream to a socket: on the device to the
// target of a service, on the client to what a local listener accepted, or to
// stdin and stdout.
//
// A Target is where a service of a device leads. It comes from the device's own
// configuration and never from a peer, and what was authorized is the very
// value that Dial dials.
//
// Splice carries bytes both ways and everything that ends them: the end of one
// direction goes over as the end of that direction, and a reset of either side
// becomes a reset of the other at once, with its reason where the wire has one
// and as a TCP RST where it has none. ServeUDP gives each local source of
// datagrams a flow of its own.
package tunnel
