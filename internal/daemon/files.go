package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// fileBackend carries out operations on the files of a directory that no
// daemon runs on. It holds the store's lock.
type fileBackend struct{ *administrator }

func openFiles(dir string) (admin.Backend, error) {
	a, err := openAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &fileBackend{a}, nil
}

// Do implements admin.Backend.
func (b *fileBackend) Do(ctx context.Context, op string, in []byte) ([]byte, error) {
	return b.do(ctx, op, in)
}

// Close implements admin.Backend.
func (b *fileBackend) Close() error { return errors.Join(b.closeAudit(), b.access.Close()) }

// openAdmin opens configuration, key and store of dir.
func openAdmin(dir string, log *slog.Logger) (*administrator, error) {
	config, err := LoadConfig(dir)
	if err != nil {
		return nil, admin.Missing(err, dir, program)
	}
	identity, err := OpenIdentity(dir)
	if err != nil {
		return nil, err
	}
	access, err := openAccess(dir)
	if err != nil {
		return nil, err
	}
	return &administrator{
		dir: dir, identity: identity, key: identity.Fingerprint(), access: access, log: log,
		config: func() *Config { return config },
		dev:    newDevice(dir, config, identity, access, log),
	}, nil
}

// OpenIdentity returns the identity that Init made in dir. It never makes one:
// a device that lost its key must not come up as another device.
func OpenIdentity(dir string) (*latchkey.Identity, error) {
	id, err := latchkey.OpenIdentity(filepath.Join(dir, device.KeyFile))
	if err != nil {
		return nil, admin.Missing(err, dir, program)
	}
	return id, nil
}

// openAccess opens the store of a directory whose configuration and key are there.
func openAccess(dir string) (*acl.Store, error) {
	access, err := acl.Open(filepath.Join(dir, device.AccessFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &storeError{fmt.Errorf("%s is missing, with all users and keys", filepath.Join(dir, device.AccessFile)), err, dir}
	case errors.Is(err, acl.ErrDamaged):
		return nil, &storeError{err, err, dir}
	}
	return access, err
}

// A storeError says that the store is missing or damaged, and how it comes back.
type storeError struct {
	told, cause error
	dir         string
}

func (e *storeError) Error() string { return e.told.Error() }
func (e *storeError) Unwrap() error { return e.cause }

// NextStep returns what to do about it.
func (e *storeError) NextStep() string {
	return program + " restore FILE --dir " + e.dir + ", with what " + program + " backup wrote; the device's key stays"
}
