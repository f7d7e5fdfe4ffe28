package device

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/audit"
)

// openAudit finds out who is told of events.
func (s *server) openAudit() error {
	switch {
	case s.dev.Audit != nil:
		s.tell = s.dev.Audit
		return nil
	case s.dev.Dir == "" || s.access == nil:
		s.tell = s.logEvent
		return nil
	}
	var err error
	s.auditLog, err = audit.Open(audit.Config{
		Dir: s.dev.Dir, Identity: s.identity, Anchor: s.access.Anchor, SetAnchor: s.access.SetAnchor, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	s.tell = s.auditLog.Record
	return nil
}

// closeAudit writes what is left to write.
func (s *server) closeAudit() {
	if s.auditLog == nil {
		return
	}
	if err := s.auditLog.Close(); err != nil {
		s.log.Error("close the audit log", "err", err)
	}
}

// logEvent is where events go that nobody else takes.
func (s *server) logEvent(e acl.Event) {
	s.log.Debug("event", "kind", e.Kind, "outcome", e.Outcome, "op", e.Action, "object", e.Object, "detail", e.Detail,
		"code", e.Code, "peer", e.Key, "user", e.User, "path", e.Path, "source", e.Source)
}

// event tells the owner's log what has happened.
func (s *server) event(e acl.Event) { s.tell(e) }

// event tells the log what has happened with the peer.
func (p *peer) event(e acl.Event) {
	e.Key, e.User, e.Path, e.Source = p.key, p.subject().User, p.path(), p.source().Addr()
	p.srv.event(e)
}

// told completes an event by how it went.
func (p *peer) told(e acl.Event, err error) {
	e.Outcome, e.Code = outcome(err), latchkey.CodeOf(err)
	p.event(e)
}

// outcome tells the failures of the device's own from the no of a rule.
func outcome(err error) acl.Outcome {
	switch {
	case err == nil:
		return acl.OutcomeOK
	case latchkey.CodeOf(err) == latchkey.CodeInternal:
		return acl.OutcomeFailed
	}
	return acl.OutcomeRefused
}

// decided tells what the door said to an operation that begins. Of those that it
// let pass, only tunnels and administration are worth a record.
func (p *peer) decided(q *acl.Request, err error) {
	if err == nil && !p.admitted.Load() {
		p.admitted.Store(true)
	}
	if err == nil && !worthy(q.Action) {
		return
	}
	e := acl.Event{Kind: acl.EventAccess, Action: q.Action, Object: q.Resource}
	if mode := acl.ModeOf(err); err != nil && mode != acl.Respond {
		e.Detail = mode.String()
	}
	p.told(e, err)
}

// worthy reports whether permission for the action is worth a record.
func worthy(a acl.Action) bool {
	what, _, _ := strings.Cut(string(a), ":")
	switch what {
	case "coap", "route", "service", "pair", "token":
		return false
	}
	return a != acl.SelfRead
}

// revoked tells that something under way was ended.
func (p *peer) revoked(action acl.Action, object string, err error) {
	code := latchkey.CodeOf(err)
	if !errors.Is(err, latchkey.ErrTokenExpired) && !errors.Is(err, latchkey.ErrRevoked) {
		code = latchkey.CodeForbidden
	}
	p.event(acl.Event{Kind: acl.EventRevoke, Outcome: acl.OutcomeOK, Action: action, Object: object, Code: code})
}

// clockChanged tells that the time became known, or stopped to be.
func (s *server) clockChanged(known bool, now time.Time) {
	floor, from := s.clock.bound()
	e := acl.Event{Kind: acl.EventClock, Outcome: acl.OutcomeOK, Detail: "known"}
	if !known {
		e.Outcome = acl.OutcomeFailed
		e.Detail = "not known: it says " + now.UTC().Format(time.RFC3339) + ", and by " + from + " it was " + floor.UTC().Format(time.RFC3339) + " before"
	}
	s.log.Warn("the clock has changed", "op", "clock", "known", known, "now", now, "floor", floor, "by", from)
	s.review()
	s.event(e)
}

// clockStarts tells what the clock is at start, if that is worth telling.
func (s *server) clockStarts() {
	if record := s.clock.ignored; record != "" {
		s.log.Warn("a record is ahead of the clock, and does not count", "op", "clock", "record", record)
		s.event(acl.Event{Kind: acl.EventClock, Outcome: acl.OutcomeFailed, Detail: record + ", which is ahead of the clock and does not count"})
	}
	s.clock.look()
}
