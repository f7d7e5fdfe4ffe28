package roster

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// OriginManual is the origin of keys that somebody added by hand.
const OriginManual = "manual"

const (
	// Absent is the version of a role or policy that is not there: on these terms
	// a change only makes something new.
	Absent = "absent"
	// VersionBytes is how many bytes the other versions stand for.
	VersionBytes = 8
)

// A Roster carries out changes. Its methods may be called at the same time.
//
// Errors match latchkey.ErrProtocol for values that cannot be, ErrNotFound,
// ErrConflict for names that are taken, versions that have passed and the last
// administrator (that is acl.ErrLastAdmin too), ErrForbidden for more than users
// may do to themselves, ErrTooMany and ErrTooLarge. Any other error is the
// store's.
type Roster struct {
	Access  *acl.Store
	Pairing *pairing.Host    // for invitations; nil: there are none
	Event   func(acl.Event)  // is told of each change and each attempt; nil: nobody is
	Now     func() time.Time // zero while it is not known; nil: time.Now
	Quota   *Quota           // of what users do to themselves; nil: without bounds
	// Hooked says that something else than the policies decides. Nobody here knows
	// then what depends on the names of users.
	Hooked bool
}

// An Actor is who makes a change, as the device itself found out.
type Actor struct {
	Console bool                 // somebody at the device, not a peer
	Key     latchkey.Fingerprint // that the peer proved
	Token   string               // "ISSUER/SUBJECT" of the token by which the door judged; "": by none
	User    string               // who owned Key when the door was asked; "": nobody
	Path    acl.PathKind
	Source  netip.Addr

	// Changed is closed once other rules may be in force than those by which the
	// door let the actor through. Again then asks the door anew: it returns the
	// next such channel, from before it asked, or why the door refuses. Nil: nobody
	// was asked.
	Changed <-chan struct{}
	Again   func() (<-chan struct{}, error)
	Waits   bool // Again may take its time; the store does not wait for it
}

// is reports whether the actor is the user of that name.
func (a Actor) is(user string) bool { return !a.Console && a.User != "" && a.User == user }

// Terms are the terms on which a change is made. The zero Terms demand nothing
// and protect the last administrator.
type Terms struct {
	Version string // that the actor has seen; "": any. Another one there: latchkey.ErrConflict
	Force   bool   // it may leave nobody who could undo it from afar, or open a door
}

// A deed is an attempt at one change, for the record.
type deed struct {
	kind   acl.EventKind
	action acl.Action // what the door is asked for it
	self   acl.Action // and by the user itself; "": the same
	object string     // what it is done to: for accounts and keys the user's name
	detail string
}

// errSame takes back a change after which everything is as before.
var errSame = errors.New("roster: nothing is different")

// do makes one change, and records how it went, unless nothing is different.
func (r *Roster) do(a Actor, t Terms, d deed, change func(*acl.Tx) error) error {
	if d.self != "" && a.is(d.object) && !r.Quota.take(a.User) {
		err := fmt.Errorf("%w: more than %d changes a minute or %d a day", latchkey.ErrTooMany, SelfChanges, SelfChangesDay)
		d.detail = "too many changes" // which ones is nothing that fills a log
		r.record(a, d, err)
		return err
	}
	err := r.commit(a, t, change)
	if errors.Is(err, errSame) {
		return nil
	}
	r.record(a, d, err)
	return err
}

// same returns errSame if a change has left what it is about at the version that it
// had, and nothing has to be written.
func same(tx *acl.Tx, before, after string) error {
	if before == after && !tx.Held() {
		return errSame
	}
	return nil
}

// commit makes one change, by the rules that hold for all of them.
func (r *Roster) commit(a Actor, t Terms, change func(*acl.Tx) error) error {
	return explain(a.repeat(func() error {
		return r.Access.Update(func(tx *acl.Tx) error {
			if err := a.current(tx); err != nil {
				return err
			}
			tx.By(a.User)
			owned := governed(tx, r.now())
			if t.Force {
				tx.Force()
			}
			if err := change(tx); err != nil {
				return err
			}
			if !t.Force && owned && !governed(tx, r.now()) {
				return acl.ErrLastAdmin
			}
			return nil
		})
	}))
}

// explain gives errors of the store the sentinel that peers are told.
func explain(err error) error {
	var mistake *acl.Mistake
	var position *acl.PositionError
	switch {
	case errors.Is(err, acl.ErrLastAdmin):
		return fmt.Errorf("%w: %w", latchkey.ErrConflict, err)
	case errors.As(err, &mistake), errors.As(err, &position):
		return fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	return err
}

func (r *Roster) record(a Actor, d deed, err error) {
	if r.Event == nil {
		return
	}
	e := acl.Event{
		Kind: d.kind, Outcome: acl.OutcomeOK, Console: a.Console, Key: a.Key, User: a.User,
		Action: d.action, Object: clip(d.object), Detail: clip(d.detail), Code: latchkey.CodeOf(err), Path: a.Path, Source: a.Source,
	}
	switch {
	case err == nil:
	case e.Code == latchkey.CodeInternal:
		e.Outcome = acl.OutcomeFailed
	default:
		e.Outcome = acl.OutcomeRefused
	}
	if d.self != "" && a.is(d.object) {
		e.Action = d.self
	}
	if a.Token != "" {
		e.Detail = clip(a.name() + ": " + d.detail)
	}
	r.Event(e)
}

// maxWord is the longest text of a record in bytes. What is refused may be as long
// as a request.
const maxWord = 512

func clip(s string) string {
	if len(s) > maxWord {
		s = strings.ToValidUTF8(s[:maxWord], "")
	}
	return s
}

// errClock refuses what has an end while nobody knows when that would be.
var errClock = fmt.Errorf("%w: the clock is not known", latchkey.ErrConflict)

func (r *Roster) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
