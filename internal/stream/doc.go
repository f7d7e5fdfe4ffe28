// Package stream carries tunnels over one session: an SCTP association
// (RFC 9260) whose streams are opened with DCEP (RFC 8832) and whose payload
// is held to a credit of its own, so that a tunnel that nobody reads cannot
// stop the others.
package stream
