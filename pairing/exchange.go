package pairing

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

// An Exchange is what one connection may do towards pairing. It remembers how
// far a proof has come, and nothing outside of it does. Its methods may be called
// at the same time; the calls run one after the other.
type Exchange struct {
	host *Host
	peer Peer

	mu    sync.Mutex
	proof *proof // nil: none is under way
	left  Modes  // by which a try was left without a confirmation
}

// Begin returns the Exchange of a new connection. Its End is due when the
// connection has ended.
func (h *Host) Begin(p Peer) *Exchange { return &Exchange{host: h, peer: p} }

// A proof is an exchange over a password, from its request on.
type proof struct {
	request  Request
	password password
	encoded  []byte         // the verifier that it began with
	response *pake.Response // nil until the share came
	last     bool           // no other try was left after this one
	decided  bool           // the confirmation came
}

// A password is something to be proved: that of the device or of an invitation.
type password interface {
	// verifier returns the encoded verifier, or why the password is worth
	// nothing at the time now. It does not look at failures.
	verifier(tx *acl.Tx, now time.Time) ([]byte, error)
	// check returns nil if one more try is left.
	check(tx *acl.Tx, now time.Time, p Peer) error
	// charge counts a try as a failure, and reports whether it was the last.
	charge(tx *acl.Tx, now time.Time, p Peer) (last bool, err error)
	// refund takes the try back.
	refund(tx *acl.Tx) error
	// grant returns who the peer becomes.
	grant(tx *acl.Tx, r Request) (user, role string, err error)
	// spend uses up what works only once.
	spend(tx *acl.Tx) error
}

// Step answers what a peer posted for a mode, with a CoAP response code of
// success and a text. A key that belongs to a user succeeds whatever is open and
// whatever name it asks for. Every request begins anew, and every error ends what
// was under way. The error matches
//
//   - latchkey.ErrProtocol for what is no message, or not the next one,
//   - latchkey.ErrPairingClosed, also for an invitation that is not valid,
//   - latchkey.ErrNotLocal for a local mode and a peer that is not,
//   - latchkey.ErrTooMany for too many failures from the peer's part of the network,
//   - latchkey.ErrWrongPassword,
//   - latchkey.ErrConflict for a user name that is taken,
//   - latchkey.ErrForbidden for a key of a user whose access has expired.
//
// Any other error is the store's, and then the key was not added. Now is zero
// while the time is not known; then nothing is open that ends at some time.
func (e *Exchange) Step(now time.Time, mode Modes, body []byte) (coapCode uint8, answer []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o, err := e.step(now, mode, body)
	if err != nil {
		e.leave(now) // one error ends it, whatever it was
		e.report(mode, Reply{}, err)
		return 0, nil, err
	}
	if o.done != nil {
		e.leave(now) // as success does
		if !o.done.Already {
			e.report(mode, *o.done, nil)
		}
		return o.done.Encode()
	}
	return o.answer.encode()
}

// An outcome is one of two: the exchange goes on, or is done.
type outcome struct {
	answer answer
	done   *Reply
}

func (e *Exchange) step(now time.Time, mode Modes, body []byte) (outcome, error) {
	if e.peer.Key.IsZero() {
		return outcome{}, fmt.Errorf("%w: pairing without a proven key", latchkey.ErrInternal)
	}
	m, err := parseMessage(mode, body)
	if err != nil {
		return outcome{}, err
	}
	if o, err := e.already(now); err != nil || o.done != nil {
		return o, err
	}
	var o outcome
	switch {
	case m.kind == isShare:
		o, err = e.share(now, mode, m.bytes)
	case m.kind == isConfirm:
		o, err = e.confirm(now, mode, m.bytes)
	case passwordModes.Has(mode):
		o, err = e.begin(now, m.request)
	default:
		o, err = e.join(now, m.request)
	}
	if err != nil {
		// The peer may have raced with itself and lost.
		if o, err := e.already(now); err == nil && o.done != nil {
			return o, nil
		}
	}
	return o, err
}

// already returns the answer to a key that belongs to a user, and nothing for
// others. A key cannot become somebody's else before it is removed, also when its
// access has expired.
func (e *Exchange) already(now time.Time) (outcome, error) {
	s, ok := e.host.store.Lookup(e.peer.Key)
	switch {
	case !ok:
		return outcome{}, nil
	case !s.Expires.IsZero() && !now.IsZero() && !now.Before(s.Expires):
		return outcome{}, fmt.Errorf("%w: the access of %q has expired: give it more time, or remove the key before it pairs again",
			latchkey.ErrForbidden, s.User)
	}
	return outcome{done: &Reply{User: s.User, Role: s.Role, Already: true}}, nil
}

// join is a local mode: one step without a proof.
func (e *Exchange) join(now time.Time, r Request) (outcome, error) {
	h := e.host
	if _, open := h.opening(r.Mode, now); !open {
		return outcome{}, latchkey.ErrPairingClosed
	}
	if err := h.store.View(func(tx *acl.Tx) error { return h.usable(tx, r.Mode, now) }); err != nil {
		return outcome{}, err
	}
	if !e.peer.Local {
		return outcome{}, latchkey.ErrNotLocal
	}
	role := acl.RoleGuest
	if r.Mode == LocalInitial {
		role = acl.RoleAdmin
	}
	err := h.store.Update(func(tx *acl.Tx) error {
		if err := h.usable(tx, r.Mode, now); err != nil {
			return err
		}
		return e.add(tx, now, r, r.User, role)
	})
	if err != nil {
		return outcome{}, err
	}
	if r.Mode == LocalInitial {
		h.Close(LocalInitial)
	}
	return outcome{done: &Reply{User: r.User, Role: role}}, nil
}

// add writes the user and the key. If it is latchkey.ErrConflict it has written
// nothing.
func (e *Exchange) add(tx *acl.Tx, now time.Time, r Request, user, role string) error {
	if k, there := tx.Key(e.peer.Key); there {
		return fmt.Errorf("%w: user %q has the key already", latchkey.ErrConflict, k.User)
	}
	if r.Mode != Invite {
		if err := Reserved(tx, user, now); err != nil {
			return err
		}
	}
	if err := tx.AddUser(acl.User{Name: user, Role: role, Added: now}); err != nil {
		return err
	}
	key := acl.Key{Fingerprint: e.peer.Key, User: user, Name: r.Name, Added: now, Origin: r.Mode.String()}
	if err := tx.AddKey(key); err != nil {
		return err
	}
	if role != acl.RoleAdmin {
		return nil
	}
	// Whoever comes next is not the first.
	return tx.SetSetting(initialSetting, settingUsed)
}

// begin answers a request with what the peer needs to derive the secrets.
func (e *Exchange) begin(now time.Time, r Request) (outcome, error) {
	if err := e.host.identified(); err != nil {
		return outcome{}, fmt.Errorf("%w: %w", latchkey.ErrPairingClosed, err)
	}
	if err := checkBinding(e.peer.Binding); err != nil {
		return outcome{}, err
	}
	if r.Mode == PasswordOpen {
		if err := e.host.redate(now); err != nil {
			return outcome{}, err
		}
	}
	p := &proof{request: r, password: e.host.passwordFor(r)}
	err := e.host.store.View(func(tx *acl.Tx) (err error) {
		if p.encoded, err = p.password.verifier(tx, now); err != nil {
			return err
		}
		return p.password.check(tx, now, e.peer)
	})
	if isWorn(err) {
		e.worn(r)
	}
	if err != nil {
		return outcome{}, err
	}
	e.host.restored(r)
	v, err := pake.ParseVerifier(p.encoded)
	if err != nil {
		return outcome{}, err
	}
	e.leave(now)
	e.proof = p
	params := v.Params()
	return outcome{answer: answer{
		ID: params.Verifier, Salt: formatBytes(params.Salt),
		Time: params.Costs.Time, Memory: params.Costs.Memory, Threads: params.Costs.Threads,
	}}, nil
}

// passwordFor returns what a request is going to prove.
func (h *Host) passwordFor(r Request) password {
	if r.Mode == Invite {
		return &byInvite{host: h, id: r.Invite}
	}
	return &byPassword{host: h}
}

// still returns nil while the password that p began with can be proved.
func (p *proof) still(tx *acl.Tx, now time.Time) error {
	encoded, err := p.password.verifier(tx, now)
	if err == nil && !bytes.Equal(encoded, p.encoded) {
		err = fmt.Errorf("%w: the password was changed", latchkey.ErrPairingClosed)
	}
	return err
}

// share answers a share. Before it does, the try is on disk as a failure,
// because the answer is what tells a guess from the password.
func (e *Exchange) share(now time.Time, mode Modes, share []byte) (outcome, error) {
	p := e.proof
	if p == nil || p.request.Mode != mode || p.response != nil {
		return outcome{}, fmt.Errorf("%w: a share without a request before it", latchkey.ErrProtocol)
	}
	err := e.host.store.Update(func(tx *acl.Tx) (err error) {
		tx.Quiet()
		if err := p.still(tx, now); err != nil {
			return err
		}
		if err := p.password.check(tx, now, e.peer); err != nil {
			return err
		}
		p.last, err = p.password.charge(tx, now, e.peer)
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	v, err := pake.ParseVerifier(p.encoded)
	if err != nil {
		return outcome{}, err
	}
	p.response, err = v.Respond(p.request.context(e.peer.Key, e.host.key, e.peer.Binding), share)
	if err != nil {
		return outcome{}, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	return outcome{answer: answer{Share: formatBytes(p.response.Share()), Confirm: formatBytes(p.response.Confirm())}}, nil
}

// confirm reads the peer's confirmation and makes the peer a user.
func (e *Exchange) confirm(now time.Time, mode Modes, confirm []byte) (outcome, error) {
	p := e.proof
	if p == nil || p.request.Mode != mode || p.response == nil {
		return outcome{}, fmt.Errorf("%w: a confirmation without a share before it", latchkey.ErrProtocol)
	}
	p.decided = true
	if err := p.response.Check(confirm); err != nil {
		e.spent(now, p)
		return outcome{}, fmt.Errorf("%w: %w", latchkey.ErrWrongPassword, err)
	}
	var reply Reply
	var taken error
	err := e.host.store.Update(func(tx *acl.Tx) (err error) {
		if err := p.still(tx, now); err != nil {
			return err
		}
		if err := p.password.refund(tx); err != nil {
			return err
		}
		if reply.User, reply.Role, err = p.password.grant(tx, p.request); err == nil {
			err = e.add(tx, now, p.request, reply.User, reply.Role)
		}
		if errors.Is(err, latchkey.ErrConflict) {
			// The peer knows the password: it may try again with another name.
			taken = err
			tx.Quiet()
			return nil
		}
		if err != nil {
			return err
		}
		return p.password.spend(tx)
	})
	if err = errors.Join(err, taken); err != nil {
		return outcome{}, err
	}
	return outcome{done: &reply}, nil
}
