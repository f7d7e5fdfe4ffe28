// Package signal is what peers and a basestation tell each other: the messages
// of docs/protocol.md section 12, their encoding and their limits.
//
// Each message is the body of a CoAP request or answer on the leg between a
// peer and its basestation, in CBOR (RFC 8949) with small integers as keys:
//
//	device → basestation   attach, tokens
//	client → basestation   connect
//	basestation → device   introduce
//	basestation → client   answer
//	peer → peer, by way of the basestation: candidates; peer → basestation: leave
//
// Nothing here is believed. Unmarshal refuses what is too large, nested, tagged,
// of unknown length or out of range before anybody looks at it. The peers do not
// believe the basestation either: each side of an introduction signs its Offer,
// so that the fingerprint in a pairing URL is enough to notice any exchange of
// keys, certificates or ICE credentials on the way. Candidates are not signed;
// a false one costs a few STUN checks, which its address cannot answer.
package signal
