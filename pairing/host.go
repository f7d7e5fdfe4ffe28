package pairing

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const (
	// initialSetting is the store's setting that remembers, across restarts,
	// that local-initial was used up.
	initialSetting = "pairing.local-initial"
	settingUsed    = "used"
)

// A Peer is what the device itself found out about the other side.
type Peer struct {
	Key   latchkey.Fingerprint // proved in the handshake
	Local bool                 // the session came from the device's own network
}

// A Host is the device's half of pairing. Its methods may be called at the same
// time.
type Host struct {
	store *acl.Store

	mu   sync.Mutex
	open map[Modes]opening
}

// An opening says how long a mode is open, and whether somebody opened it by
// hand, which is needed to use local-initial again.
type opening struct {
	until  time.Time // zero: no deadline
	byHand bool
}

func (o opening) at(now time.Time) bool { return o.until.IsZero() || now.Before(o.until) }

// NewHost returns a Host on which the modes m are open, as the configuration
// says. LocalInitial stays closed nevertheless when it was used up before or an
// administrator exists.
func NewHost(store *acl.Store, m Modes) *Host {
	h := &Host{store: store, open: make(map[Modes]opening)}
	for _, known := range modes {
		if m.Has(known.bit) {
			h.open[known.bit] = opening{}
		}
	}
	return h
}

// Open opens modes by hand until a deadline, or with the zero time until they
// are closed or used up; a restart ends it. LocalInitial can be used once more
// by this, but only on a device without an administrator: latchkey.ErrConflict.
func (h *Host) Open(m Modes, until time.Time) error {
	if m&^allModes() != 0 {
		return fmt.Errorf("pairing: unknown modes %#x", uint8(m&^allModes()))
	}
	if m.Has(LocalInitial) {
		owned := false
		err := h.store.View(func(tx *acl.Tx) error {
			owned = hasAdmin(tx)
			return nil
		})
		if err != nil {
			return err
		}
		if owned {
			return fmt.Errorf("%w: the device has an owner already", latchkey.ErrConflict)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range modes {
		if m.Has(known.bit) {
			h.open[known.bit] = opening{until, true}
		}
	}
	return nil
}

// Configure makes m the modes that the configuration opens, in place of those
// that it opened before. Unlike Open it does not give a used-up mode back.
func (h *Host) Configure(m Modes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, known := range modes {
		if o, open := h.open[known.bit]; open && o.byHand {
			continue
		}
		delete(h.open, known.bit)
		if m.Has(known.bit) {
			h.open[known.bit] = opening{}
		}
	}
}

// Close closes modes. A restart opens those of the configuration again.
func (h *Host) Close(m Modes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.open, func(bit Modes, _ opening) bool { return m.Has(bit) })
}

// Modes returns the modes by which a stranger could pair at the time now. When
// the store cannot be read there are none.
func (h *Host) Modes(now time.Time) Modes {
	var set Modes
	for _, known := range modes {
		if _, ok := h.opening(known.bit, now); ok {
			set |= known.bit
		}
	}
	if !set.Has(LocalInitial) {
		return set
	}
	err := h.store.View(func(tx *acl.Tx) error { return h.initialOpen(tx, now) })
	if err != nil {
		set &^= LocalInitial
	}
	return set
}

// Status answers GET /pairing.
func (h *Host) Status(now time.Time, p Peer) Status {
	_, paired := h.store.Lookup(p.Key)
	return Status{Modes: h.Modes(now).Names(), Paired: paired}
}

func (h *Host) opening(m Modes, now time.Time) (opening, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.open[m]
	return o, ok && o.at(now)
}

// initialOpen returns nil when the next local peer becomes the owner.
func (h *Host) initialOpen(tx *acl.Tx, now time.Time) error {
	o, ok := h.opening(LocalInitial, now)
	if !ok {
		return latchkey.ErrPairingClosed
	}
	if used, _ := tx.Setting(initialSetting); used != "" && !o.byHand {
		return fmt.Errorf("%w: it was used up", latchkey.ErrPairingClosed)
	}
	if hasAdmin(tx) {
		return fmt.Errorf("%w: the device has an owner", latchkey.ErrPairingClosed)
	}
	return nil
}

func hasAdmin(tx *acl.Tx) bool {
	return slices.ContainsFunc(tx.Users(), func(u acl.User) bool { return u.Role == acl.RoleAdmin })
}

// Step answers one request of a peer. A key that belongs to a user succeeds
// whatever is open and whatever name it asks for. Otherwise the error matches
// latchkey.ErrPairingClosed, ErrNotLocal for a local mode and a peer that is
// not, ErrConflict for a user name that is taken, or ErrProtocol; any other
// error is the store's, and then the key was not added.
func (h *Host) Step(now time.Time, p Peer, r Request) (Reply, error) {
	if p.Key.IsZero() {
		return Reply{}, fmt.Errorf("%w: pairing without a proven key", latchkey.ErrInternal)
	}
	if err := r.check(); err != nil {
		return Reply{}, fmt.Errorf("%w: pairing request: %w", latchkey.ErrProtocol, err)
	}
	if reply, ok := h.already(p.Key); ok {
		return reply, nil
	}
	reply, err := h.initial(now, p, r)
	if err == nil {
		return reply, nil
	}
	// The request may have raced with its own repetition and lost.
	if reply, ok := h.already(p.Key); ok {
		return reply, nil
	}
	return Reply{}, err
}

func (h *Host) already(key latchkey.Fingerprint) (Reply, bool) {
	s, ok := h.store.Lookup(key)
	return Reply{User: s.User, Role: s.Role, Already: true}, ok
}

func (h *Host) initial(now time.Time, p Peer, r Request) (Reply, error) {
	if !h.Modes(now).Has(LocalInitial) {
		return Reply{}, latchkey.ErrPairingClosed
	}
	if !p.Local {
		return Reply{}, latchkey.ErrNotLocal
	}
	err := h.store.Update(func(tx *acl.Tx) error {
		if err := h.initialOpen(tx, now); err != nil {
			return err
		}
		if err := tx.AddUser(acl.User{Name: r.User, Role: acl.RoleAdmin, Added: now}); err != nil {
			return err
		}
		key := acl.Key{Fingerprint: p.Key, User: r.User, Name: r.Name, Added: now, Origin: LocalInitial.String()}
		if err := tx.AddKey(key); err != nil {
			return err
		}
		return tx.SetSetting(initialSetting, settingUsed)
	})
	if err != nil {
		return Reply{}, err
	}
	h.Close(LocalInitial)
	return Reply{User: r.User, Role: acl.RoleAdmin}, nil
}
