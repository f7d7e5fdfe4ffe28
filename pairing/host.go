package pairing

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

const (
	// initialSetting is the store's setting that remembers, across restarts,
	// that local-initial was used up.
	initialSetting = "pairing.local-initial"
	settingUsed    = "used"
)

// A HostConfig says what a Host works on.
type HostConfig struct {
	Store *acl.Store // required
	Open  Modes      // that are open by configuration
	// Device and Key are the device's own id and key, which the modes with a
	// password bind everything to. Without them only the local modes work.
	Device latchkey.DeviceID
	Key    latchkey.Fingerprint
	// Event is told of each pairing, in both outcomes, and of modes that close
	// themselves. It may be called at the same time and must not block for long.
	// Nil: nobody is.
	Event func(acl.Event)
}

// A Host is the device's half of pairing. Its methods may be called at the same
// time.
type Host struct {
	store  *acl.Store
	device latchkey.DeviceID
	key    latchkey.Fingerprint
	event  func(acl.Event)
	costs  pake.Costs // of new passwords

	deriving sync.Mutex // one password at a time: each takes memory

	mu   sync.Mutex
	open map[Modes]opening
	worn map[string]bool // passwords of which it was told that no try is left
}

// An opening says how long a mode is open, and whether somebody opened it by
// hand, which is needed to use local-initial again.
type opening struct {
	until  time.Time // zero: no deadline
	byHand bool
}

// at reports whether o holds at the time now. While the time is unknown, which
// is zero, deadlines have passed.
func (o opening) at(now time.Time) bool {
	return o.until.IsZero() || !now.IsZero() && now.Before(o.until)
}

// NewHost returns a Host on which the modes c.Open are open. LocalInitial stays
// closed nevertheless when it was used up before or an administrator exists, and
// PasswordOpen while there is no password or too many failed.
func NewHost(c HostConfig) *Host {
	h := &Host{
		store: c.Store, device: c.Device, key: c.Key, event: c.Event,
		costs: pake.DefaultCosts(), open: make(map[Modes]opening), worn: make(map[string]bool),
	}
	if h.event == nil {
		h.event = func(acl.Event) {}
	}
	h.Configure(c.Open)
	return h
}

// Open opens modes by hand until a deadline, or with the zero time until they
// are closed or used up; a restart ends it. LocalInitial can be used once more
// by this, but only on a device without an administrator: latchkey.ErrConflict.
// PasswordOpen forgets the failures that there were, and needs a password:
// ErrNoPassword. Unless all modes can be opened, none is.
func (h *Host) Open(m Modes, until time.Time) error {
	return h.OpenIf(m, until, func(*acl.Tx) error { return nil })
}

// OpenIf is Open if check returns nil in the store's state of that moment, and
// otherwise its error.
func (h *Host) OpenIf(m Modes, until time.Time, check func(*acl.Tx) error) error {
	if m&^allModes() != 0 {
		return fmt.Errorf("pairing: unknown modes %#x", uint8(m&^allModes()))
	}
	err := h.store.Update(func(tx *acl.Tx) error {
		err := check(tx)
		if err == nil {
			err = h.openable(tx, m)
		}
		if err == nil && m.Has(PasswordOpen) {
			err = forgive(tx)
		}
		return err
	})
	if err != nil {
		return err
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

func (h *Host) openable(tx *acl.Tx, m Modes) error {
	if m.Has(LocalInitial) && hasAdmin(tx, true) {
		return fmt.Errorf("%w: the device has an owner already", latchkey.ErrConflict)
	}
	if !m.Has(PasswordOpen) {
		return nil
	}
	if err := h.identified(); err != nil {
		return err
	}
	_, err := h.password(tx)
	return err
}

// identified returns nil when h knows whose half it is.
func (h *Host) identified() error {
	if h.key.IsZero() || !h.device.Valid() {
		return errNobody
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

// Close closes modes, also to exchanges that have begun. A restart opens those
// of the configuration again.
func (h *Host) Close(m Modes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.open, func(bit Modes, _ opening) bool { return m.Has(bit) })
}

// Modes returns the modes by which a stranger could pair at the time now, from
// the place and with the secret that it takes. When the store cannot be read
// there are none.
func (h *Host) Modes(now time.Time) (set Modes) {
	for _, o := range h.Openings(now) {
		if o.Blocked == nil {
			set |= o.Mode
		}
	}
	return set
}

// ModesFor returns the modes by which a stranger on such a connection could
// pair at the time now: of the local modes none, if it is not local.
func (h *Host) ModesFor(now time.Time, local bool) Modes {
	set := h.Modes(now)
	if !local {
		set &^= localModes
	}
	return set
}

// An Opening is a mode that the configuration or somebody opened.
type Opening struct {
	Mode    Modes
	Until   time.Time // zero: until it is closed or used up
	ByHand  bool      // and not by configuration
	Blocked error     // why nobody can pair by it nevertheless; nil: somebody can
}

// Openings returns the modes that are open at the time now, in the order of
// their bits.
func (h *Host) Openings(now time.Time) (list []Opening) {
	for _, known := range modes {
		o, ok := h.opening(known.bit, now)
		if !ok {
			continue
		}
		err := h.store.View(func(tx *acl.Tx) error { return h.usable(tx, known.bit, now) })
		list = append(list, Opening{known.bit, o.until, o.byHand, err})
	}
	return list
}

// Status answers GET /pairing.
func (h *Host) Status(now time.Time, p Peer) Status {
	_, paired := h.store.Lookup(p.Key)
	return Status{Modes: h.Modes(now).Names(), Paired: paired, Local: p.Local}
}

func (h *Host) opening(m Modes, now time.Time) (opening, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.open[m]
	return o, ok && o.at(now)
}

// usable returns nil when somebody could pair by the one mode m, and otherwise
// latchkey.ErrPairingClosed with the reason.
func (h *Host) usable(tx *acl.Tx, m Modes, now time.Time) error {
	o, ok := h.opening(m, now)
	if !ok {
		return latchkey.ErrPairingClosed
	}
	var reason error
	switch m {
	case LocalInitial:
		reason = initialUsable(tx, o)
	case PasswordOpen:
		reason = h.passwordUsable(tx)
	case Invite:
		reason = h.invitesUsable(tx, now)
	}
	if reason != nil {
		return fmt.Errorf("%w: %w", latchkey.ErrPairingClosed, reason)
	}
	return nil
}

// initialUsable returns nil when the next local peer becomes the owner.
func initialUsable(tx *acl.Tx, o opening) error {
	if used, _ := tx.Setting(initialSetting); used != "" && !o.byHand {
		return errUsed
	}
	if hasAdmin(tx, o.byHand) {
		return errOwned
	}
	return nil
}

// hasAdmin reports whether there is an administrator. Who opens a mode by hand
// means it: then only those count who hold a key.
func hasAdmin(tx *acl.Tx, byHand bool) bool {
	return slices.ContainsFunc(tx.Users(), func(u acl.User) bool {
		return u.Role == acl.RoleAdmin && (!byHand || len(tx.Keys(u.Name)) > 0)
	})
}

// UseUp makes the store as if somebody had paired by local-initial: it opens by hand
// alone.
func UseUp(tx *acl.Tx) error { return tx.SetSetting(initialSetting, settingUsed) }

// Reset makes the store as if nobody had ever paired: no password, no failures,
// and local-initial not used up. Users and invitations are not its affair.
func Reset(tx *acl.Tx) error {
	for _, name := range []string{initialSetting, passwordSetting, failuresSetting} {
		if err := tx.RemoveSetting(name); err != nil {
			return err
		}
	}
	return nil
}

// A Peer is what the device itself found out about the other side.
type Peer struct {
	Key    latchkey.Fingerprint // proved in the handshake
	Local  bool                 // the session came from the device's own network
	Source netip.Addr           // of the session; zero by way of a relay
	// Binding is what the session exports for Label, BindingSize bytes; nil when
	// the handshake did not settle on our own protocol.
	Binding []byte
}

const (
	// Label names the keying material of a session (RFC 5705) that an exchange
	// is bound to.
	Label = "EXPORTER-latchkey-pairing"
	// BindingSize is its length in bytes.
	BindingSize = 32
)
