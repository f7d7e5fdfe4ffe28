package acl

import (
	"net/netip"

	"github.com/latchkey-dev/latchkey"
)

// An Event is something that a device's owner may want to read about
// afterwards. No field ever holds a secret.
type Event struct {
	Kind    EventKind
	Outcome Outcome
	// Who: by somebody at the device itself, or by the holder of a key.
	Console bool
	Key     latchkey.Fingerprint
	User    string // who owned Key then
	// What.
	Action Action        // that the door was asked about, if it was
	Object string        // what it was done to: a path, a user's name, a key, a mode
	Detail string        // what is different now, in a few words
	Code   latchkey.Code // why not
	// From where.
	Path   PathKind
	Source netip.Addr
}

// An EventKind says what an Event is about.
type EventKind string

// The kinds of events.
const (
	EventStart     EventKind = "start"     // the device began to serve
	EventStop      EventKind = "stop"      // and ended
	EventAttach    EventKind = "attach"    // at its basestation, or not
	EventSession   EventKind = "session"   // a peer's handshake or session was let in, or refused
	EventAccess    EventKind = "access"    // the door refused an operation, or let one pass that is worth a record: tunnels, administration
	EventRevoke    EventKind = "revoke"    // something under way was ended because the rules changed
	EventPair      EventKind = "pair"      // a key was added by pairing, or not
	EventMode      EventKind = "mode"      // a pairing mode was opened or closed
	EventInvite    EventKind = "invite"    // an invitation was made or withdrawn
	EventUser      EventKind = "user"      // users and their rights changed
	EventKey       EventKind = "key"       // keys of users changed
	EventRole      EventKind = "role"      // roles changed
	EventPolicy    EventKind = "policy"    // policies changed
	EventToken     EventKind = "token"     // a token was used, issued, revoked or has expired
	EventSettings  EventKind = "settings"  // other settings changed
	EventIdentity  EventKind = "identity"  // the device's own key changed
	EventBackup    EventKind = "backup"    // a backup was written
	EventRestore   EventKind = "restore"   // a backup was read
	EventReset     EventKind = "reset"     // all users and settings were removed
	EventClock     EventKind = "clock"     // the clock became known, or stopped to be
	EventAuditLost EventKind = "auditlost" // records of events could not be written
)

// An Outcome says how it went.
type Outcome string

// The outcomes.
const (
	OutcomeOK      Outcome = "ok"
	OutcomeRefused Outcome = "refused" // by a rule
	OutcomeFailed  Outcome = "failed"  // by a failure
)
