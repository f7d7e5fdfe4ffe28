// Package session is one authenticated connection between two peers, with
// everything that travels in it.
//
// Below it is a secure.Conn, which delivers datagrams that the peer's key
// vouches for. A datagram's first byte says whose it is (docs/protocol.md
// section 3): 0x40 to 0x7F is CoAP, 0x13 is SCTP, and anything else is
// dropped. CoAP goes beside the streams, never inside them, so that a busy
// tunnel cannot delay a request.
//
// A session outlives its path. Keep-alive notices that a path is silent, shows
// it as down, and gives it time to come back before the session ends. All
// sessions of a program share one ticker, the Set's; an idle session owns no
// timer.
package session
