package pairing

import (
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// report tells what came of an exchange.
func (e *Exchange) report(mode Modes, r Reply, err error) {
	ev := e.event(acl.EventPair, mode)
	switch {
	case err == nil:
		ev.Outcome, ev.User, ev.Detail = acl.OutcomeOK, r.User, "became a user with role "+r.Role
	case latchkey.CodeOf(err) == latchkey.CodeInternal:
		ev.Outcome, ev.Code = acl.OutcomeFailed, latchkey.CodeInternal
	default:
		ev.Outcome, ev.Code = acl.OutcomeRefused, latchkey.CodeOf(err)
		if s, ok := e.host.store.Lookup(e.peer.Key); ok && ev.Code == latchkey.CodeForbidden {
			ev.User, ev.Detail = s.User, "access has expired"
		}
	}
	e.host.event(ev)
}

// End says that the connection is over. A client that sees by the device's
// confirmation that its password is another one goes away without a word, and so
// does whoever only guesses. So a try that was answered and never confirmed is
// told as a wrong password, once: here, or when another step takes its place. End
// returns the modes of such tries with latchkey.ErrWrongPassword, or 0 and nil if
// there were none.
func (e *Exchange) End(now time.Time) (Modes, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leave(now)
	if e.left == 0 {
		return 0, nil
	}
	return e.left, latchkey.ErrWrongPassword
}

// leave ends the proof that is under way, if any.
func (e *Exchange) leave(now time.Time) {
	p := e.proof
	e.proof = nil
	if p == nil || p.response == nil || p.decided {
		return
	}
	e.left |= p.request.Mode
	ev := e.event(acl.EventPair, p.request.Mode)
	ev.Outcome, ev.Code, ev.Detail = acl.OutcomeRefused, latchkey.CodeWrongPassword, "no confirmation came"
	e.host.event(ev)
	e.spent(now, p)
}

// spent looks whether p, which failed, was the last try of its password.
func (e *Exchange) spent(now time.Time, p *proof) {
	left := e.host.store.View(func(tx *acl.Tx) error { return p.password.check(tx, now, e.peer) })
	if p.last && isWorn(left) {
		e.worn(p.request)
	}
}

// worn tells, once, that a password was tried in vain for the last time: when that
// try has failed or, if its end never came, when the next one is refused.
func (e *Exchange) worn(r Request) {
	h := e.host
	h.mu.Lock()
	told := h.worn[r.password()]
	h.worn[r.password()] = true
	h.mu.Unlock()
	if told {
		return
	}
	ev := e.event(acl.EventMode, r.Mode)
	ev.Outcome, ev.Detail = acl.OutcomeOK, fmt.Sprintf("closed by %d failures", MaxFailures)
	if r.Mode == Invite {
		ev.Kind, ev.Detail = acl.EventInvite, fmt.Sprintf("void by %d failures", MaxFailures)
		ev.Object = r.Invite
	}
	h.event(ev)
}

// isWorn reports whether err is that no try is left.
func isWorn(err error) bool { return errors.Is(err, errWorn) || errors.Is(err, errVoid) }

// restored notes that a password may be tried, so that its next end is told.
func (h *Host) restored(r Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.worn, r.password())
}

// password names what a request proves.
func (r Request) password() string { return r.Mode.String() + " " + r.Invite }

func (e *Exchange) event(k acl.EventKind, mode Modes) acl.Event {
	ev := acl.Event{Kind: k, Key: e.peer.Key, Object: mode.String(), Source: e.peer.Source, Path: acl.PathDirect}
	if len(mode.Names()) == 1 {
		ev.Action = acl.Action("pair:" + mode.String())
	}
	switch {
	case e.peer.Local:
		ev.Path = acl.PathLocal
	case !e.peer.Source.IsValid():
		ev.Path = acl.PathRelay
	}
	return ev
}
