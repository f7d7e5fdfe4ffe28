// Package bearer checks the JSON Web Tokens (RFC 7519) that open a basestation's
// gate, and those that log in at a device: who issued one, for whom, until when,
// for what, and that its bearer is the client it was issued to.
//
// What is accepted is narrow, and RFC 8725 is the reason for most of it. Issuers,
// their key sets and algorithms come from configuration; a token only chooses
// among them. exp, iss and aud must be there. A token that tells where to find a
// key, names an extension, repeats a name or is of another type is refused.
//
// # Binding
//
// A token is bound to a client by its claim cnf (RFC 7800), with one of these
// members, or both:
//
//	jkt        RFC 9449: the SHA-256 thumbprint (RFC 7638) of the client's key,
//	           {"crv":"P-256","kty":"EC","x":"...","y":"..."}; see Thumbprint
//	x5t#S256   RFC 8705: the SHA-256 of the certificate that the client showed,
//	           where the caller knows it
//
// Every member that is there must fit, and any other refuses the token. A token
// without cnf is refused, unless its issuer's configuration says otherwise, which
// it cannot where tokens log in.
//
// # Logging in
//
// With Options.Login a token entitles its bearer on one device. That device is
// its only audience; a token for several is refused, because each of them could
// show it to the others. It names no devices, and its rights end at exp, without
// leeway. The header typ may be login+jwt, which the gate refuses, as connect+jwt
// is refused here.
//
// Out come the scope (RFC 8693 section 4.2), as words that nobody has interpreted
// yet, and all claims, for rules to look at. A token with more of them than a
// session should hold is refused: more than 128, or 512 values, or 4 KiB of text,
// or lists and objects more than 4 deep.
//
// # Key sets
//
// Keys (RFC 7517) are fetched when a token needs them: never from an address that
// is not public, whatever the name resolves to, never by a redirect to another
// host, and within small bounds. They are fetched again when they are old, or for
// a key id that is not among them, but at most once a minute. While fetching
// fails, the keys that are there serve on until they reach their greatest age.
// Then nothing is accepted until fetching works again.
package bearer
