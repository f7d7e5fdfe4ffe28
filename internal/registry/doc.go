// Package registry is what a basestation knows for good: which key may attach as
// which device, and which connect tokens open the gate to it.
//
// A device is an ID, PRODUCT/DEVICE, with one key or more; a key belongs to one
// device among all products. Connect tokens come in two ways. A device uploads
// the hashes of its own, always all of them with a version, and they stay here
// while it is away. The operator makes others, for one device or for a whole
// product. The raw token is shown once and never kept.
//
// Redeem is the gate's question: may this client, with the token of this hash, be
// introduced to this device? A token that may be used N times is used at most N
// times, whatever fails in between: each use is on disk before Redeem says yes.
// Everything that Redeem refuses matches latchkey.ErrForbidden, and its reason is
// for the log, not for the client.
//
// All of it is in memory, in an immutable snapshot that reads take without a
// lock. Changes are queued: whoever comes first writes what has gathered since,
// with one sync of the disk for all. What a change takes away is refused from
// before it is written, and stays so if it cannot be written. The file,
// registry.db, is a vault: whole, or refused.
package registry
