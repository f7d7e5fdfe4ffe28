// Package pake is SPAKE2+ (RFC 9383) with the suite
// P256-SHA256-HKDF-SHA256-HMAC-SHA256: two sides find out whether they mean the
// same password, and whoever listens, or takes part without knowing it, learns
// nothing but that one guess was right or wrong.
//
// The side that knows the password is the prover. The other, the verifier, keeps
// a Verifier, from which the password can only be guessed, each guess at the cost
// of one run of argon2id (RFC 9106):
//
//	prover                                verifier
//	Derive(password, v.Params)            NewVerifier(password, params), kept
//	Start                     share ->    Respond
//	Finish         <- share, confirm
//	                        confirm ->    Check
//
// An Exchange names what both sides must agree on beside the password, its
// Context above all. If they disagree, the confirmations do not match, as with a
// wrong password.
//
// The keys that SPAKE2+ also agrees on are not derived. Who uses this package
// has a protected session already and puts what is special to it into the
// Context; so an exchange that somebody in the middle carries from one session
// to another fails.
//
// Everything that depends on secrets runs in constant time, the arithmetic of
// the curve in filippo.io/nistec. Shares that are no points, or the neutral
// element, are refused.
package pake
