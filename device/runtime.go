package device

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// ErrNotServing reports a call that needs a device that serves.
var ErrNotServing = errors.New("device: not serving")

// serving returns what runs, or ErrNotServing.
func (d *Device) serving() (*server, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return nil, ErrNotServing
	}
	return d.run, nil
}

// SetServices replaces the services. Tunnels that are open go on.
func (d *Device) SetServices(list []Service) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	return s.setServices(list)
}

// SetRoutes replaces the routes. Requests that are under way go on.
func (d *Device) SetRoutes(list []Route) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	return s.routes.set(list)
}

// SetLimits replaces the limits; zero fields are defaults. What is under way
// keeps to the limits that it began with: a session to its own Streams and
// Body.
func (d *Device) SetLimits(l Limits) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	s.setLimits(l)
	return nil
}

// Review has everything judged again that peers have under way, and ended if it
// is refused. Changes of the store do that by themselves; call it when something
// else has changed that Authorize decides by. It does not wait.
func (d *Device) Review() {
	if s, err := d.serving(); err == nil {
		s.review()
	}
}

// SetName changes the name for people, also in discovery.
func (d *Device) SetName(name string) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	return s.rename(name)
}

// SetBasestation changes which basestation introduces clients to the device; no
// address ends that. Sessions go on.
func (d *Device) SetBasestation(addrs []string, key latchkey.Fingerprint) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	c, err := newBaseConfig(addrs, key)
	if err != nil {
		return err
	}
	s.attach.set(c)
	return nil
}

// SetTokens replaces the issuers of tokens. Who has logged in has at once what its
// token is worth by the new ones: another role, or nothing, as always when the
// issuer's audience, algorithms or keys have changed.
func (d *Device) SetTokens(list []TokenIssuer) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	if err := s.setTokens(list); err != nil {
		return err
	}
	for _, p := range s.all() {
		p.checkIssuer()
	}
	return nil
}

// Notify tells the observers of path that its state has changed: the handler
// runs again for each of them. It does not wait.
func (d *Device) Notify(path string) {
	if s, err := d.serving(); err == nil {
		s.watchers.notify(path)
	}
}

// A Status is what a device is doing.
type Status struct {
	Info
	Since    time.Time       `json:"since"`
	Pairing  pairing.Modes   `json:"pairing"`
	Services []Service       `json:"services"`
	Attach   AttachStatus    `json:"basestation"`
	Sessions []SessionStatus `json:"sessions"`
}

// A SessionStatus is one authenticated session.
type SessionStatus struct {
	Peer    latchkey.Fingerprint `json:"peer"`
	User    string               `json:"user"`
	Source  netip.AddrPort       `json:"source"` // zero by way of a relay
	Path    acl.PathKind         `json:"path"`
	Up      bool                 `json:"up"`
	Since   time.Time            `json:"since"`
	Tunnels []string             `json:"tunnels"` // service ids, one for each open tunnel
}

// Status tells what the device is doing.
func (d *Device) Status() (Status, error) {
	s, err := d.serving()
	if err != nil {
		return Status{}, err
	}
	st := Status{Info: s.info(), Since: s.started, Pairing: d.PairingModes(), Services: []Service{}, Attach: s.attach.now(), Sessions: []SessionStatus{}}
	for _, v := range s.services.Load().list {
		st.Services = append(st.Services, Service{v.ID, v.target.String()})
	}
	for _, p := range s.all() {
		one := SessionStatus{
			Peer: p.key, User: p.subject().User, Source: p.source(), Path: p.path(),
			Up: p.sess.Up(), Since: p.since, Tunnels: []string{},
		}
		for _, l := range p.tunnels.all() {
			if l.open() {
				one.Tunnels = append(one.Tunnels, l.asked.Resource)
			}
		}
		slices.Sort(one.Tunnels)
		st.Sessions = append(st.Sessions, one)
	}
	slices.SortFunc(st.Sessions, func(a, b SessionStatus) int { return strings.Compare(a.Source.String(), b.Source.String()) })
	return st, nil
}
