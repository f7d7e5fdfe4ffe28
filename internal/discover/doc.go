// Package discover finds devices on the local network, and lets them be found,
// by DNS-based service discovery (RFC 6763) over multicast DNS (RFC 6762).
//
// A device is one instance of the service _latchkey._udp.local. Its name is the
// device's own; when another device has that name, a part of the fingerprint is
// added. Its TXT record says
//
//	v=1                  version of this record
//	id=PRODUCT/DEVICE    the device's id
//	name=...             its name for people
//	k=FINGERPRINT        its key, 64 hexadecimal digits
//
// and its SRV and address records say where it listens. No secret is in them.
//
// Nothing that comes from the network is believed: what Browse finds is a hint,
// and the handshake proves or refutes it. What a hostile network can cost is
// bounded too: datagrams, records, instances and addresses are counted and
// capped, those beyond are dropped, and text that cannot be printed is replaced.
// Only sources on the link are heard, and answers are rare, so that a device is
// no reflector.
//
// The two state machines, responder and browser, take time and datagrams as
// arguments and know no sockets; network has those.
package discover
