package pairing

import (
	"fmt"

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
	}
	e.host.event(ev)
}

// worn tells that a password was tried in vain for the last time.
func (e *Exchange) worn(mode Modes) {
	ev := e.event(acl.EventMode, mode)
	ev.Outcome, ev.Detail = acl.OutcomeOK, fmt.Sprintf("closed by %d failures", MaxFailures)
	if mode == Invite {
		ev.Kind, ev.Detail = acl.EventInvite, fmt.Sprintf("void by %d failures", MaxFailures)
		ev.Object = e.proof.request.Invite
	}
	e.host.event(ev)
}

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
