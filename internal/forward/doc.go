// Package forward carries CoAP requests to servers behind the device: the
// reverse proxy of RFC 7252 section 5.7 towards coap://, and the mapping of
// section 10.1 (read backwards from RFC 8075) towards http:// and https://.
//
// A Route says which paths lead where. Forwarding takes two steps with the
// door of the device between them:
//
//	url, err := route.Resolve(r.Path, r.Query)   // names the target, contacts nobody
//	...                                          // the door judges url
//	answer := forwarder.Do(ctx, route, url, r)   // contacts what url says, nothing else
//
// Do takes host, path and query from the judged string alone; the path and
// query of the request are no longer looked at. Resolve refuses whatever could
// make the judge and the server read that string differently: dot segments,
// slashes and control characters inside a segment, in plain and in doubly
// escaped form, and empty segments before the last.
//
// # Towards CoAP
//
// Requests to one server share an endpoint that is dropped when it is idle.
// Methods, formats, ETag, If-Match and every option that is safe to forward
// pass; options that are unsafe to forward and unknown here are answered 4.02
// in a request and 5.02 in a response (section 5.7.1). Observations of the same
// resource share one registration (RFC 7641 section 3.1).
//
// # Towards HTTP
//
// FETCH becomes QUERY (RFC 10008), iPATCH becomes PATCH, the rest keep their
// names. Redirects are not followed, since nobody judged where they lead, and
// the environment's proxy settings are not used.
//
// A server that cannot be reached, refuses or stays silent is told by 5.02 and
// 5.04 with a latchkey.Code; a Latchkey-Code that the server itself sends is
// removed, so that it cannot speak for the device.
package forward
