// Package pairing turns a stranger's key into a user of a device. It holds both
// halves of the exchange as messages and state machines: no sockets, no clock.
//
// # Modes
//
// A pairing mode decides who may add their key. All are closed until somebody
// opens them:
//
//	mode           who                        proof                    role       closes
//	local-initial  the first peer             a session from the       admin      itself, after one
//	                                          device's own network
//	local-open     every peer                 the same                 guest      by the owner or a deadline
//	password-open  who knows the device's     SPAKE2+, from anywhere   guest      likewise, or after ten failures
//	               password                                                       until it is opened again
//	invite         who holds an invitation    SPAKE2+, from anywhere   as it says by the owner or a deadline; each
//	                                                                              invitation works once, until it
//	                                                                              expires or has failed ten times
//
// What a program wants beyond that it does itself: acl.Store.Update adds users
// and keys.
//
// A mode is opened by the configuration, or by hand, which a restart ends. What
// was used up stays so across restarts, and so do failures; to open a mode by
// hand gives them back. A key that already belongs to a user is told so, also
// when every mode is closed. Hence a client that lost the answer asks again. A key
// whose access has expired belongs to its user still: no invitation brings it back.
// The owner gives it more time, or removes it; then it can pair like any other.
//
// # The device
//
// The device half is a Host, and an Exchange of it for each connection. It is
// asked after the handshake has proved the peer's key and after the device has
// found out for itself whether the session is local; nothing that a peer says can
// change either. One success is one transaction of the store: the user, the key
// and the end of what was used up are written together or not at all, so two
// peers that race make one owner.
//
// The modes with a password take three steps: the request is answered with salt
// and costs, the share with a share and a confirmation, the confirmation with the
// outcome. Only the last makes somebody of the peer. A new request, or any error,
// ends what was under way.
//
// Whoever shows a share will learn whether one guess was right. So the try is
// written to disk as a failure before the share is answered, and taken back when
// the confirmation fits; ten of them close password-open to everybody, three
// within an hour do to one part of the network. An invitation has ten of its own,
// so that nobody's failures lock out the holder of another, and an id that nobody
// has costs nothing but the refusal. A try whose confirmation never comes is told
// as a failure too, when the connection ends or another step takes its place.
//
// Both ends confirm who they are, in which session, by which mode, and what was
// asked for. Somebody in the middle, who has a session with each of them, can
// carry their messages about and convinces neither. Of passwords the store keeps
// verifiers; the device runs argon2id when a password is made and never for a
// peer.
//
// # The client
//
// The client half is a Status, whose Choose picks the mode or says what is
// missing, and a Prover, which makes each message out of the answer before, in
// all modes alike. It bounds what a device may ask it to compute.
//
// # Reading the source
//
// host.go for what is open, exchange.go for the steps, password.go and
// invitation.go for what is proved, budget.go for failures; prover.go is the
// other side of exchange.go, and wire.go the form of what goes between them.
package pairing
