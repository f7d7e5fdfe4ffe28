// Package netlab is a network in memory, for tests. Hosts attach to a Network
// under an address and port of their choice and exchange datagrams through the
// interface that real sockets have (packet.Conn). A Network can lose,
// duplicate, delay and reorder, always in the same way for the same seed; a
// test can watch, change, drop and forge datagrams. A NAT hides hosts from the
// others in the ways that real ones do.
//
// Nothing here opens a socket or sleeps on its own, so a test may run it in a
// testing/synctest bubble. No product code imports this package.
package netlab
