// Package pairing turns a stranger's key into a user of a device. It holds both
// halves of the exchange as messages and a state machine: no sockets, no clock.
//
// A pairing mode decides who may add their key. All modes are closed until
// somebody opens them:
//
//	mode           who                         proof                      closes
//	local-initial  first peer on the network   session from the device's  itself, after one
//	               becomes the owner           own network
//
// The device half is a Host. It is asked after the handshake has proved the
// peer's key and after the device has decided for itself whether the session is
// local; nothing that a peer says can change either. One success is one
// transaction of the store: the user, the key and the end of the mode are
// written together or not at all, so two peers that race make one owner.
//
// A key that already belongs to a user is told so, also when every mode is
// closed. Hence a client that lost the answer simply asks again.
//
// The client half is a Request to send, ReadReply for what comes back, and
// Status.Choose to pick the mode.
package pairing
