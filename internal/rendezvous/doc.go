// Package rendezvous is what both peers do with an introduction by their
// basestation: make an offer, look for paths with the other's, tell each other
// candidates as they are found, and give what works to the carrier of a session.
//
// A Meeting is one introduction. It begins with an Offer of our own and goes on
// when the other side's offer has come, which the caller has verified. The
// session that it is for may be new, or have run for days on other paths: the
// Meeting neither knows nor cares, it delivers what arrives and reports by which
// path it came if it was authentic.
package rendezvous
