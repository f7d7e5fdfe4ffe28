package registry

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// AddDevice lets the holder of a key attach as id. For an id that is there the
// key is added to its others. Adding what is there already changes nothing.
// latchkey.ErrConflict: the key belongs to another device, of whatever product.
// latchkey.ErrTooMany: a limit of this package.
func (s *Store) AddDevice(id latchkey.DeviceID, k Key) error {
	if !id.Valid() {
		return fmt.Errorf("registry: %q is no device id", id)
	}
	k, err := k.clean()
	if err != nil {
		return err
	}
	return s.update(func(t *tx) error {
		if other, ok := t.keys[k.Fingerprint]; ok {
			if s.now.Load().held[grant{key: k.Fingerprint}] {
				return fmt.Errorf("add device %s: key %s is there and being removed; remove it first: %w", id, k.Fingerprint, latchkey.ErrConflict)
			}
			if other == id {
				return nil
			}
			return fmt.Errorf("add device %s: key %s belongs to %s: %w", id, k.Fingerprint, other, latchkey.ErrConflict)
		}
		d := Device{ID: id, Added: k.Added}
		if old := t.devices[id]; old != nil {
			d = old.clone()
		} else if len(t.devices) >= MaxDevices {
			return fmt.Errorf("add device %s: there are %d: %w", id, MaxDevices, latchkey.ErrTooMany)
		}
		if len(d.Keys) >= MaxKeys {
			return fmt.Errorf("add device %s: it has %d keys: %w", id, MaxKeys, latchkey.ErrTooMany)
		}
		d.Keys = append(d.Keys, k)
		t.putDevice(&d)
		return nil
	})
}

// RemoveDevice removes a device with its keys and the tokens that it uploaded. An
// operator's tokens stay. It is latchkey.ErrNotFound if there is no such device.
func (s *Store) RemoveDevice(id latchkey.DeviceID) error {
	return s.update(func(t *tx) error {
		d := t.devices[id]
		if d == nil {
			return fmt.Errorf("remove device %q: %w", id, latchkey.ErrNotFound)
		}
		s.skip(id, 0)
		t.dropDevice(d)
		return nil
	})
}

// Device returns the device of that id.
func (s *Store) Device(id latchkey.DeviceID) (Device, bool) {
	now := s.now.Load()
	d := now.devices[id]
	if d == nil {
		return Device{}, false
	}
	return s.shown(now, d), true
}

// Devices returns all devices in order.
func (s *Store) Devices() []Device {
	now := s.now.Load()
	out := make([]Device, 0, len(now.devices))
	for _, d := range now.devices {
		out = append(out, s.shown(now, d))
	}
	slices.SortFunc(out, func(a, b Device) int {
		return cmp.Or(cmp.Compare(a.ID.Product, b.ID.Product), cmp.Compare(a.ID.Device, b.ID.Device))
	})
	return out
}

// ByKey returns the device that the holder of a key may attach as. A key that is
// not Active, or is being removed, is not found.
func (s *Store) ByKey(fp latchkey.Fingerprint) (Device, bool) {
	now := s.now.Load()
	d := now.devices[now.keys[fp]]
	if d == nil || now.held[grant{key: fp}] {
		return Device{}, false
	}
	if i := slices.IndexFunc(d.Keys, func(k Key) bool { return k.Fingerprint == fp }); i < 0 || d.Keys[i].State != Active {
		return Device{}, false
	}
	return s.shown(now, d), true
}

// shown is a copy of d without keys that are being removed.
func (s *Store) shown(now *snapshot, d *Device) Device {
	c := d.clone()
	c.Keys = slices.DeleteFunc(c.Keys, func(k Key) bool { return now.held[grant{key: k.Fingerprint}] })
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	if seen, ok := s.seen[d.ID]; ok {
		c.Seen = seen
	}
	return c
}

// Saw notes that a device was attached at that time. It is written with the next
// Flush or Close; a crash forgets it.
func (s *Store) Saw(id latchkey.DeviceID, now time.Time) {
	if s.now.Load().devices[id] == nil || checkTimes(now) != nil {
		return
	}
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	s.seen[id] = plainTime(now)
}

// Flush writes what Saw noted, in one commit.
func (s *Store) Flush() error {
	s.noteMu.Lock()
	noted := len(s.seen)
	s.noteMu.Unlock()
	if noted == 0 {
		return nil
	}
	err := s.update(func(t *tx) error {
		s.noteMu.Lock()
		defer s.noteMu.Unlock()
		for id, seen := range s.seen {
			if d := t.devices[id]; d != nil && !d.Seen.Equal(seen) {
				c := d.clone()
				c.Seen = seen
				t.putDevice(&c)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	now := s.now.Load()
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	for id, seen := range s.seen {
		if d := now.devices[id]; d == nil || d.Seen.Equal(seen) {
			delete(s.seen, id)
		}
	}
	return nil
}
