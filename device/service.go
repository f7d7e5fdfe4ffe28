package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// A serviceTable is one immutable version of the device's services.
type serviceTable struct{ list []service }

type service struct {
	ID     string
	target tunnel.Target
}

func newServiceTable(list []Service) (*serviceTable, error) {
	t := &serviceTable{}
	for _, s := range list {
		if !validServiceID(s.ID) {
			return nil, fmt.Errorf("service %q: an id is 1 to 63 of a-z, 0-9 and - and does not begin with -", s.ID)
		}
		if _, taken := t.find(s.ID); taken {
			return nil, fmt.Errorf("service %q stands there twice", s.ID)
		}
		target, err := tunnel.ParseTarget(s.Target)
		if err != nil {
			return nil, fmt.Errorf("service %q: %w", s.ID, err)
		}
		t.list = append(t.list, service{s.ID, target})
	}
	slices.SortFunc(t.list, func(a, b service) int { return strings.Compare(a.ID, b.ID) })
	return t, nil
}

// Validate says what is wrong with s, if anything.
func (s Service) Validate() error {
	_, err := newServiceTable([]Service{s})
	return err
}

func (t *serviceTable) find(id string) (service, bool) {
	for _, s := range t.list {
		if s.ID == id {
			return s, true
		}
	}
	return service{}, false
}

func validServiceID(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func (s *server) setServices(list []Service) error {
	t, err := newServiceTable(list)
	if err != nil {
		return err
	}
	s.services.Store(t)
	return nil
}
