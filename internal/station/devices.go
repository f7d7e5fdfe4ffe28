package station

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// A Device is one that may attach, and how it is attached.
type Device struct {
	registry.Device
	Attached *basestation.DeviceStatus `json:"attached,omitempty"` // nil: it is not, or nobody serves
}

type deviceKey struct {
	ID  latchkey.DeviceID    `json:"id"`
	Key latchkey.Fingerprint `json:"key"`
}

type deviceID struct {
	ID latchkey.DeviceID `json:"id"`
}

// AddDevice lets the holder of a key attach as id, and returns the device.
func (c *Control) AddDevice(ctx context.Context, id latchkey.DeviceID, key latchkey.Fingerprint) (Device, error) {
	return admin.Call[Device](ctx, c.backend, opDeviceAdd, deviceKey{id, key})
}

// Devices lists the devices that may attach.
func (c *Control) Devices(ctx context.Context) ([]Device, error) {
	return admin.Call[[]Device](ctx, c.backend, opDeviceList, admin.None{})
}

// Device returns one device, latchkey.ErrNotFound if there is none of that id.
func (c *Control) Device(ctx context.Context, id latchkey.DeviceID) (Device, error) {
	return admin.Call[Device](ctx, c.backend, opDeviceShow, deviceID{id})
}

// RemoveDevice removes a device with its keys and the tokens that it uploaded. If
// it is attached it is cut off.
func (c *Control) RemoveDevice(ctx context.Context, id latchkey.DeviceID) error {
	_, err := admin.Call[admin.None](ctx, c.backend, opDeviceRemove, deviceID{id})
	return err
}

// attached returns what is attached, by id.
func (a *administrator) attached() (map[latchkey.DeviceID]*basestation.DeviceStatus, error) {
	if a.server == nil {
		return nil, nil
	}
	list, err := a.server.Attached()
	if err != nil && !errors.Is(err, basestation.ErrNotServing) {
		return nil, err
	}
	there := make(map[latchkey.DeviceID]*basestation.DeviceStatus, len(list))
	for i := range list {
		there[list[i].ID] = &list[i]
	}
	return there, nil
}

func (a *administrator) devices(context.Context, admin.None) ([]Device, error) {
	there, err := a.attached()
	if err != nil {
		return nil, err
	}
	known := a.registry.Devices()
	list := make([]Device, len(known))
	for i, d := range known {
		list[i] = Device{d, there[d.ID]}
	}
	return list, nil
}

func (a *administrator) device(_ context.Context, in deviceID) (Device, error) {
	d, ok := a.registry.Device(in.ID)
	if !ok {
		return Device{}, noDevice(in.ID)
	}
	there, err := a.attached()
	return Device{d, there[in.ID]}, err
}

func noDevice(id latchkey.DeviceID) error {
	return admin.Fail(latchkey.ErrNotFound, program+" device list", "there is no device %s", id)
}

func (a *administrator) addDevice(ctx context.Context, in deviceKey) (Device, error) {
	if d, ok := a.registry.ByKey(in.Key); ok && d.ID != in.ID {
		return Device{}, admin.Fail(latchkey.ErrConflict, program+" device show "+d.ID.String(),
			"key %s belongs to device %s already", in.Key, d.ID)
	}
	err := a.registry.AddDevice(in.ID, registry.Key{
		Fingerprint: in.Key, Purpose: registry.Operational, Origin: registry.Manual, State: registry.Active, Added: time.Now(),
	})
	if err != nil {
		return Device{}, err
	}
	a.log.Info("device added", "device", in.ID.String(), "key", in.Key)
	return a.device(ctx, deviceID{in.ID})
}

func (a *administrator) removeDevice(_ context.Context, in deviceID) (admin.None, error) {
	err := a.registry.RemoveDevice(in.ID)
	if errors.Is(err, latchkey.ErrNotFound) {
		return admin.None{}, noDevice(in.ID)
	}
	if err == nil {
		a.log.Info("device removed", "device", in.ID.String())
	}
	return admin.None{}, err
}
