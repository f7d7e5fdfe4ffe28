// Package budget bounds what we answer to sources that have not proved their
// address.
//
// Whoever can forge a source address makes us send our answers to a victim.
// That is worth something to them only while answers are larger than requests,
// so each prefix of sources has an account: what arrives from it is its
// credit, what we answer is its debit. A new prefix may be answered with up to
// [First] times its first request, once; from there on it gets at most as many
// bytes as it sent.
//
// The accounts are bounded too. While the table is full a new prefix has no
// account, and is answered only when the answer is no larger than the request,
// which needs no memory and helps no forger.
package budget
