package basestation

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/relay"
)

// RelayStats are what the relay did since the start, and what it does now.
type RelayStats = relay.Stats

// A Status is what a basestation is doing, and has done since it serves.
type Status struct {
	Info
	Since         time.Time  `json:"since"`
	Draining      bool       `json:"draining"`
	Devices       int        `json:"devices"`       // attached
	Peers         int        `json:"peers"`         // connected, devices included
	Streams       int        `json:"streams"`       // TCP connections
	Introductions int        `json:"introductions"` // not over
	Waiting       int        `json:"waiting"`       // clients, for a device to attach
	Refused       uint64     `json:"refused"`       // by the gate
	Introduced    uint64     `json:"introduced"`
	NotIntroduced uint64     `json:"not_introduced"`
	Relay         RelayStats `json:"relay"`
	RegistryError string     `json:"registry_error,omitempty"` // why the last change could not be kept
}

// Status tells what the basestation is doing.
func (srv *Server) Status() (Status, error) {
	s, err := srv.serving()
	if err != nil {
		return Status{}, err
	}
	return s.status(), nil
}

func (s *station) status() Status {
	peers, _ := s.legs.len()
	return Status{
		Info: s.info(), Since: s.started, Draining: s.draining.Load(),
		Devices: s.presence.Len(), Peers: peers, Streams: s.streams.len(),
		Introductions: s.introductions.len(), Waiting: int(s.count.waiting.Load()),
		Refused: s.count.refused.Load(), Introduced: s.count.introduced.Load(), NotIntroduced: s.count.notIntroduced.Load(),
		Relay: s.relay.Stats(), RegistryError: reasonOf(s.registry.Err()),
	}
}

// A DeviceStatus is a device that is attached here.
type DeviceStatus struct {
	ID        latchkey.DeviceID    `json:"id"`
	Key       latchkey.Fingerprint `json:"key"`
	Source    netip.AddrPort       `json:"source"`
	Transport string               `json:"transport"` // "udp" or "tls"
	Since     time.Time            `json:"since"`
	Heard     time.Time            `json:"heard"`
}

// Attached returns the devices that are attached here, in order of their ids.
func (srv *Server) Attached() ([]DeviceStatus, error) {
	s, err := srv.serving()
	if err != nil {
		return nil, err
	}
	list := []DeviceStatus{}
	for _, l := range s.legs.all() {
		if id, ok := l.present(); ok {
			list = append(list, DeviceStatus{id, l.key, l.source, l.transport, l.since, l.heard()})
		}
	}
	slices.SortFunc(list, func(a, b DeviceStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return list, nil
}
