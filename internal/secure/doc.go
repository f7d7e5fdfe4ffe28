// Package secure makes authenticated connections out of datagrams: DTLS 1.2
// (RFC 6347) in which both sides prove a P-256 key. It is the only way from
// the network to the rest of the program, and the only package that knows the
// DTLS library.
//
// # What a connection means
//
// A Conn exists only after a whole handshake: the peer signed with the key of
// the one certificate it sent, both Finished messages were checked, and
// Config.Verify agreed. Peer.Key is the fingerprint of that key, computed here
// from a fresh encoding. Names, dates and issuers in certificates are ignored.
// There is no resumption, no renegotiation and no way to skip a check.
//
// # How datagrams travel
//
// Whoever owns the socket pushes each datagram into a Handshake, a Conn or a
// Server; records come out by the send function. Between Deliver and the
// library lies the link. It lets through only records that belong there: in
// the handshake those that a handshake consists of, afterwards only what
// carries an authentication tag. So no datagram that the peer's keys do not
// vouch for ends or stalls a session (RFC 6347 section 4.1.2.7).
//
// The library makes the handshake and nothing else. The records of a session
// are ours: protect derives their keys from what the library exports, and Conn
// seals and opens them with the AEADs of the standard library, without a
// goroutine or an allocation for each. What arrives is opened and handled on
// the goroutine that delivers it; a session has no reader of its own.
//
// # Strangers
//
// A Server keeps no state for a source that has not sent a plausible
// ClientHello, answers nothing else, and bounds what it keeps for sources that
// have; see Limits. A session in progress is not disturbed by a ClientHello
// from its address: the new handshake runs beside it and takes its place only
// once it has proved a key.
package secure
