// Package stream carries tunnels over one session.
//
// A session has at most one SCTP association (RFC 9260), made when the first
// tunnel is opened. Each tunnel is an SCTP stream that DCEP opens (RFC 8832),
// so that any WebRTC data channel can be one: binary messages are payload and
// text messages are control (docs/protocol.md section 6).
//
// # Credit
//
// The receive window of SCTP belongs to the association. If it alone held
// senders back, one tunnel that nobody reads would fill it and stop all
// others. So each stream has a credit of its own: the absolute offset up to
// which the peer may send. A reader takes every message out of SCTP at once
// and into the buffer of its stream; what the buffers can be asked to hold is
// bounded by the credit given, and the credit given is bounded per stream, per
// session and per process. A peer that sends past its credit is reset.
//
// Credit starts modest and grows while the application reads faster than the
// credit lets the peer send. When the session runs short of it, the streams
// that have much give back as they are read.
//
// # Ends
//
// Each direction ends by itself with fin, or both end at once with reset and a
// reason. Only then is the SCTP stream reset (RFC 6525), which lets both sides
// forget it. An id is never used twice; a Mux says by Exhausted that it will
// soon have none left.
//
// # Datagrams
//
// A Flow carries datagrams of a UDP tunnel on a second, unordered channel
// without retransmission, beside a reliable one that carries answer, reason
// and end. It has no credit: its queue is bounded, and what is old is dropped.
//
// # Goroutines
//
// A Mux without tunnels has none. An association has one here and three in the
// SCTP library, and each stream has one that reads. An open that waits for its
// answer has one more, in which Config.Accept runs.
package stream
