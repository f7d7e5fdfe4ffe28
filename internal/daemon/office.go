package daemon

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/audit"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/pairing"
)

// console is who makes the changes that come from here: somebody at the device.
var console = roster.Actor{Console: true}

// Terms are the terms on which a change is made.
type Terms struct {
	Version string `json:"version,omitempty"` // that somebody has read; another one there is latchkey.ErrConflict
	Force   bool   `json:"force,omitempty"`   // it may leave the device without an administrator
}

func (t Terms) roster() roster.Terms { return roster.Terms{Version: t.Version, Force: t.Force} }

// openAudit opens the audit log of a directory.
func openAudit(dir string, identity *latchkey.Identity, access *acl.Store, log *slog.Logger) (*audit.Log, error) {
	return audit.Open(audit.Config{Dir: dir, Identity: identity, Anchor: access.Anchor, SetAnchor: access.SetAnchor, Log: log})
}

// event writes an event to the audit log.
func (a *administrator) event(e acl.Event) { a.audit.Record(e) }

// done records what came of something that only the console can do.
func (a *administrator) done(e acl.Event, err error) {
	e.Console, e.Outcome, e.Code = true, acl.OutcomeOK, latchkey.CodeOf(err)
	switch {
	case err == nil:
	case e.Code == latchkey.CodeInternal:
		e.Outcome = acl.OutcomeFailed
	default:
		e.Outcome = acl.OutcomeRefused
	}
	a.event(e)
}

// audited makes sure that there is an audit log. Commands that change nothing
// leave none behind.
func (a *administrator) audited() (err error) {
	if a.audit == nil {
		a.audit, err = openAudit(a.dir, a.identity, a.access, a.log)
	}
	return err
}

// closeAudit ends the log of an administrator that opened it.
func (a *administrator) closeAudit() error {
	if a.audit == nil {
		return nil
	}
	return a.audit.Close()
}

// host is pairing as far as the store goes. Which modes are open is for the device
// to know, while one serves.
func (a *administrator) host() *pairing.Host {
	return pairing.NewHost(pairing.HostConfig{
		Store: a.access, Open: a.config().Pairing, Device: a.dev.DeviceID(a.key), Key: a.key,
	})
}

// reader looks things up.
func (a *administrator) reader() *roster.Roster { return &roster.Roster{Access: a.access} }

// help says what to do about a refusal.
type help struct {
	missing string // when something is not there
	taken   string // when it is in the way of something else
	terms   Terms  // on which it was tried
}

// change makes one change on the roster, which records it.
func change[T any](a *administrator, h help, do func(*roster.Roster) (T, error)) (out T, err error) {
	if err := a.audited(); err != nil {
		return out, err
	}
	out, err = do(&roster.Roster{Access: a.access, Pairing: a.host(), Event: a.event})
	return out, a.advise(err, h)
}

// act is change for what returns nothing.
func act(a *administrator, h help, do func(*roster.Roster) error) (admin.None, error) {
	return change(a, h, func(r *roster.Roster) (admin.None, error) { return admin.None{}, do(r) })
}

// advise puts the step that helps to an error.
func (a *administrator) advise(err error, h help) error {
	var known *admin.Error
	var door *roster.LintError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, acl.ErrHeld) && a.running:
		return admin.Fail(err, "make room on the disk and repeat the command; do not restart the daemon before that", "%v", err)
	case errors.Is(err, acl.ErrHeld):
		return admin.Fail(err, "make room on the disk and repeat the command", "nothing was changed, since no daemon runs that could hold what is not on disk: %v", err)
	case errors.Is(err, acl.ErrLastAdmin):
		return admin.Fail(err, "give another user with a key the role admin first, or repeat with --force", "%v", acl.ErrLastAdmin)
	case errors.As(err, &door):
		return admin.Fail(err, "narrow it: "+door.Findings[0].Fix+"; or, if it is meant, repeat with --force", "%v", door)
	case errors.Is(err, latchkey.ErrConflict) && h.terms.Version != "":
		return admin.Fail(err, "look at it again, and repeat the command with the version that is there now", "%s", reason(err))
	case errors.Is(err, latchkey.ErrConflict):
		return admin.Fail(err, h.taken, "%s", reason(err))
	case errors.Is(err, latchkey.ErrNotFound):
		return admin.Fail(err, h.missing, "%s", reason(err))
	case errors.Is(err, latchkey.ErrProtocol):
		return admin.Fail(err, "correct that and repeat the command", "%s", reason(err))
	case latchkey.CodeOf(err) != latchkey.CodeInternal:
		return admin.Fail(err, "", "%s", reason(err))
	}
	return err
}

// reason is an error without the words of its code, if it has others.
func reason(err error) string {
	text, code := err.Error(), latchkey.CodeOf(err).Err().Error()
	if short := strings.TrimSuffix(text, ": "+code); short != "" {
		text = short
	}
	return strings.TrimPrefix(text, code+": ")
}
