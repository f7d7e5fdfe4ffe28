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
// Conditions compare an attribute with values. Several conditions of a statement
// must all hold, and of several values one is enough:
//
//	connection.user, connection.role,     equals, not-equals      text
//	  key.fingerprint, key.origin,
//	  device.id, device.product, device.unit
//	connection.path                       equals, not-equals      local, direct, relay
//	service.type                          equals, not-equals      tcp, udp, unix
//	claim.NAME                            equals, not-equals      text; a claim of the peer's token
//	connection.source                     in, not-in              address prefixes: 192.168.1.0/24
//	time                                  within, not-within      [DAYS ]HH:MM-HH:MM ZONE
//	key.age                               below, at-least         one of 90m, 720h, 30d
//
// A claim is a text or a list of texts. A list equals a value if one of its texts
// does, and differs from it if none does; only a single text can be a variable.
//
// 18:00-23:00 begins at 18:00 and has ended at 23:00. DAYS are like mon-fri or
// sat,sun; a time that goes over midnight belongs to the day on which it begins.
// ZONE is UTC, an offset like +02:00, or a name of the IANA database, which knows
// summer time. A text that a person wrote may name only zones that the machine
// knows.
//
// Data that is missing never opens a door: where a request lacks an attribute
// that a statement asks for, an allow does not match and a deny does. So it is
// while the clock is not known, with a key from the future, with a claim of
// another kind, with a variable that has a slash in it, and with a stored policy
// whose time zone this machine does not know. The trace of a decision names what
// was missing.
//
// A statement that denies may choose how the peer learns of it, see Mode.
//
// What people write is a Document: policies, roles, and tests of them, which
// Check runs before anything is put into a store. Lint looks for what is valid and
// still most likely wrong, and shows each with a request.
//
// # Keeping
//
// A Store holds users, the keys they own, roles, policies and invitations, in one
// bbolt file, access.db, and all of it in memory. A peer that proved a key is
// judged by the policies of the role of the key's user, of that user, and of that
// key; one whose key belongs to nobody by those of the role of its token, and
// without a token by those of the role "unpaired". A role has its own policies and
// those of the roles that it includes. Lookup, Authorize and View work on an
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
// What takes rights away does not wait for the disk. While a change is written,
// and after it could not be, only that is allowed which is allowed both by what is
// on disk and by what was asked for. So a lost right is lost at once, and a right
// that was not written is never had.
//
// The file is an allow-list, and an empty allow-list lets the first comer become
// owner. So the file is checked whole when it is opened and before it is changed:
// every page in use, a checksum on every record, and one record that holds count
// and hash of all. What does not fit is refused, and never repaired to less than
// it was. A missing file is not an empty one; only Create makes a new one.
//
// # Reading the source
//
// Deciding: policy.go, evaluate.go, then resource.go, template.go, condition.go
// and clock.go, which match; trace.go puts it into words. What people write:
// document.go, case.go, check.go; what Lint finds in it: lint.go. Who is judged: authorize.go. Keeping: store.go for
// the order of things, overlay.go for what is not on disk yet, codec.go for what
// is; the file itself is internal/vault's.
package acl
