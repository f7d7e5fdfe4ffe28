// Package route finds ways for datagrams between two peers that a basestation
// has introduced, and chooses among them.
//
// A Hub belongs to one UDP socket and serves every Route that uses it. A Route
// looks for ways to one peer in two manners at once. Its relay leg asks a TURN
// server (RFC 8656) for an address and sends to the address that the peer got
// there; both addresses are known beforehand, so the leg works two round trips
// after it was started. Its ICE agent (RFC 8445) checks pairs of host and
// server-reflexive addresses, and finds a direct way if the NATs between the
// peers allow one. Relayed addresses are no candidates: the two manners know
// nothing of each other.
//
// ICE sees STUN messages and nothing else. Once it has selected a pair, the
// peers' datagrams go from the socket to that address without its help. In the
// other direction the Hub hands a datagram to a route only if it comes from an
// address that answered one of that route's checks with the right password: a
// stranger who forges datagrams does not get as far as DTLS.
//
// What works is a Path. A Carrier holds the paths of one session, whichever
// route they are of, and sends on the best: local before direct before relay.
// It sends on all of them while it doubts the best one, because the record
// protocol drops what arrives twice.
//
// A route lasts as long as its network. When that changes, its owner asks for a
// new introduction, makes another Route, adds its paths to the same Carrier and
// closes the old one; there is no restart.
package route
