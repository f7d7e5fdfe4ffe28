// Package coap is a symmetric CoAP endpoint (RFC 7252) on one datagram
// session: both peers may ask, answer, observe (RFC 7641) and move bodies
// block by block (RFC 7959), also with FETCH, PATCH and iPATCH (RFC 8132).
//
// An Endpoint owns no socket, no timer and, while nothing is under way, no
// goroutine. Whoever owns the session pushes datagrams in with Deliver, takes
// them out with Config.Send and calls Tick about ten times a second:
//
//	e := coap.New(coap.Config{Send: session.Write, Handler: serve})
//	go session.Serve(e.Deliver)
//	answer, err := e.Do(ctx, coap.NewRequest(coap.GET, "light", "1"))
//
// # Layers
//
// A datagram passes through small parts, each in its own file:
//
//	wire.go       bytes to message and back; RST, 4.02 and 5.05 where the RFC asks for them
//	replies.go    each request runs once; its duplicates get the same answer
//	outbox.go     confirmable messages are repeated until acknowledged
//	upload.go     Block1: requests are put together, within caps
//	download.go   Block2: answers are handed out in blocks
//	serve.go      requests to the Handler on a bounded pool (workers.go)
//	observation.go  notifications, latest state first
//	exchange.go   requests of our own through go-coap's client connection
//	client.go     Do, and blocks in both directions
//	watch.go      Observe
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
