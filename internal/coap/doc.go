// Package coap is a symmetric CoAP endpoint (RFC 7252) on one datagram
// session: both peers may ask, answer, observe (RFC 7641) and move bodies
// block by block (RFC 7959), also with FETCH, PATCH and iPATCH (RFC 8132).
//
// An Endpoint owns no socket and no timer, and nothing that it does takes a
// goroutine for each exchange. Whoever owns the session pushes datagrams in
// with Deliver, takes them out with Config.Send and calls Tick about ten times
// a second:
//
//	e := coap.New(coap.Config{Send: session.Write, Handler: serve})
//	go session.Serve(e.Deliver)
//	answer, err := e.Do(ctx, coap.NewRequest(coap.GET, "light", "1"))
//
// # Layers
//
// A datagram passes through small parts, each in its own file:
//
//	wire.go, options.go, read.go   bytes to message to Request, and what may be in it
//	outbox.go                      confirmable messages are repeated until acknowledged
//	serve.go, workers.go           requests of the peer, on a bounded pool
//	replies.go                     each runs once; its duplicates get the same answer
//	upload.go, download.go         their bodies, and ours in answer, block by block
//	observation.go                 notifications, latest state first
//	client.go, exchange.go         requests of our own, bodies in both directions
//	watch.go                       observations of our own
//	stream*.go                     the same on TCP and TLS (RFC 8323)
//
// The codec, and the matching of answers to our own requests, are go-coap's:
// its udp/client.Conn runs on our implementation of its Session interface.
//
// # Message ids
//
// A session may carry more messages than there are message ids. Inside one
// session a duplicate is therefore recognised by id, token and content, and an
// id that is used again for another message begins a new exchange. We number
// messages in sequence and skip those ids that still wait to be acknowledged.
//
// # What a peer can cost
//
// Everything a peer can make the endpoint keep is capped by Config: bodies,
// unfinished transfers, observations, queued requests, remembered answers and
// unacknowledged messages. A datagram never causes more than one datagram in
// direct answer, and an answer that nobody waits for causes at most a Reset,
// so that two endpoints cannot keep each other busy.
package coap
