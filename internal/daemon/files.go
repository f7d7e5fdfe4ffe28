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
)

// fileBackend carries out operations on the files of a directory that no
// daemon runs on. It holds the store's lock.
type fileBackend struct{ admin *admin }

func openFiles(dir string) (*fileBackend, error) {
	a, err := openAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &fileBackend{a}, nil
}

func (b *fileBackend) call(ctx context.Context, op string, in []byte) ([]byte, error) {
	return b.admin.do(ctx, op, in)
}

func (b *fileBackend) close() error { return b.admin.access.Close() }

// openAdmin opens configuration, key and store of dir.
func openAdmin(dir string, log *slog.Logger) (*admin, error) {
	config, err := LoadConfig(dir)
	if err != nil {
		return nil, missing(err, dir)
	}
	identity, err := OpenIdentity(dir)
	if err != nil {
		return nil, err
	}
	access, err := acl.Open(filepath.Join(dir, device.AccessFile))
	if err != nil {
		return nil, missing(err, dir)
	}
	return &admin{
		dir: dir, key: identity.Fingerprint(), access: access, log: log,
		config: func() *Config { return config },
		dev:    newDevice(config, identity, access, log),
	}, nil
}

// OpenIdentity returns the identity that Init made in dir. It never makes one:
// a device that lost its key must not come up as another device.
func OpenIdentity(dir string) (*latchkey.Identity, error) {
	id, err := latchkey.OpenIdentity(filepath.Join(dir, device.KeyFile))
	if err != nil {
		return nil, missing(err, dir)
	}
	return id, nil
}

// missing explains the absence of a file that Init makes.
func missing(err error, dir string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &ControlError{Message: fmt.Sprintf("%s is not set up: %v", dir, err), Next: "latchkeyd init --dir " + dir}
}
