// Package latchkey holds the nouns that every part of Latchkey shares: who a
// peer is (Identity, Fingerprint), where a device is found (DeviceID,
// PairingURL), what a bearer may show (ConnectToken, Secret), and why an
// operation was refused (Code and the Err values).
//
// It opens no sockets and imports only the standard library. To run a device,
// read package device; to reach one, package client; to decide who may do
// what, package acl.
//
// A peer is its key. Two peers that have exchanged fingerprints need nothing
// else to authenticate each other: no name, no certificate authority, no
// clock. The self-signed certificate that travels in the handshake is
// packaging around the key, and everything in it but the key is ignored.
package latchkey
