// Package acl decides. It answers one question, may this peer do this here, and
// keeps the users, keys, roles and policies that the answer comes from. It knows
// no sockets and no clock.
//
// # Deciding
//
// A Request holds what the device knows about a peer and what the peer asks for.
// A Policy is a list of statements, each of which allows or denies some actions
// on some resources under some conditions. Evaluate is a pure function from both
// to a Decision: a deny beats an allow, an allow beats silence, and silence
// refuses.
//
//	{"name": "evenings", "statements": [
//	  {"effect": "allow", "actions": ["coap:*"], "resources": ["/light/**", "/home/${connection.user}/*"]},
//	  {"effect": "deny",  "actions": ["*"],      "resources": ["**"],
//	   "conditions": [{"attribute": "connection.path", "operator": "not-equals", "values": ["local", "direct"]}]}
//	]}
//
// Actions are exact, of one kind ("coap:*"), or all ("*"). Resources are
// compared segment by segment: * is one segment, ** any number of them or none.
//
// ${name} stands for an attribute of the request. Its value is compared byte by
// byte and within one segment; a user who is called * matches nothing but a *.
//
// Data that is missing never opens a door: where a request lacks an attribute
// that a statement asks for, an allow does not match and a deny does.
//
// # Keeping
//
// A Store holds users, the keys they own, roles and policies, in one bbolt file,
// access.db, and all of it in memory. A peer that proved a key is judged by the
// policies of the role of the key's user, of that user, and of that key; a
// stranger by those of the role "unpaired". Lookup, Authorize and View work on an
// immutable snapshot without a lock. Update makes the next snapshot, writes it,
// and only then puts it in force:
//
//	err := store.Update(func(tx *acl.Tx) error {
//		if err := tx.AddUser(acl.User{Name: "alice", Role: acl.RoleGuest}); err != nil {
//			return err
//		}
//		return tx.AddKey(acl.Key{Fingerprint: fp, User: "alice", Name: "laptop"})
//	})
//
// The file is an allow-list, and an empty allow-list lets the first comer become
// owner. So the file is checked whole when it is opened and before it is changed:
// every page in use, a checksum on every record, and one record that holds count
// and hash of all. What does not fit is refused, and never repaired to less than
// it was. A missing file is not an empty one; only Create makes a new one.
//
// # Reading the source
//
// Deciding: policy.go, evaluate.go, then resource.go, template.go and
// condition.go, which match. Who is judged: authorize.go. Keeping: store.go for
// the order of things, codec.go for what is on disk; the file itself is
// internal/vault's.
package acl
