package station

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

// The operations that a Control can ask for.
const (
	opStatus       = "status"
	opDeviceAdd    = "device/add"
	opDeviceList   = "device/list"
	opDeviceShow   = "device/show"
	opDeviceRemove = "device/remove"
	opTokenCreate  = "token/create"
	opTokenList    = "token/list"
	opTokenRevoke  = "token/revoke"
	opEventTail    = "event/tail"
)

// operations is the whole table; nothing writes to it.
var operations = admin.Table[*administrator]{
	opStatus:       admin.Op((*administrator).status),
	opDeviceAdd:    admin.Op((*administrator).addDevice),
	opDeviceList:   admin.Op((*administrator).devices),
	opDeviceShow:   admin.Op((*administrator).device),
	opDeviceRemove: admin.Op((*administrator).removeDevice),
	opTokenCreate:  admin.Op((*administrator).createToken),
	opTokenList:    admin.Op((*administrator).tokens),
	opTokenRevoke:  admin.Op((*administrator).revokeToken),
	opEventTail:    admin.Op((*administrator).tail),
}

// An administrator carries out operations on an open directory.
type administrator struct {
	dir      string
	identity *latchkey.Identity
	registry *registry.Store
	log      *slog.Logger
	config   func() *Config
	server   *basestation.Server // nil: none runs, these are the files
}

// openAdmin opens configuration, key and registry of dir.
func openAdmin(dir string, log *slog.Logger) (*administrator, error) {
	config, err := LoadConfig(dir)
	if err != nil {
		return nil, admin.Missing(err, dir, program)
	}
	identity, err := OpenIdentity(dir)
	if err != nil {
		return nil, err
	}
	store, err := registry.Open(filepath.Join(dir, basestation.RegistryFile))
	if err != nil {
		return nil, admin.Missing(err, dir, program)
	}
	return &administrator{
		dir: dir, identity: identity, registry: store, log: log, config: func() *Config { return config },
	}, nil
}

// OpenIdentity returns the identity that Init made in dir. It never makes one:
// peers know a basestation by its key.
func OpenIdentity(dir string) (*latchkey.Identity, error) {
	id, err := latchkey.OpenIdentity(filepath.Join(dir, basestation.KeyFile))
	if err != nil {
		return nil, admin.Missing(err, dir, program)
	}
	return id, nil
}

// Do implements admin.Backend.
func (a *administrator) Do(ctx context.Context, op string, in []byte) ([]byte, error) {
	return operations.Do(ctx, a, op, in)
}

// Close implements admin.Backend. It lets go of the registry.
func (a *administrator) Close() error { return a.registry.Close() }

// A Control carries out administrative commands on one directory.
type Control struct{ backend admin.Backend }

// OpenControl returns the Control of the basestation that runs on dir or, when
// none does, of the files in dir. The caller must close it soon: on files it
// holds the lock that a basestation needs to start.
func OpenControl(ctx context.Context, dir string) (*Control, error) {
	b, err := admin.Open(ctx, dir, func() (admin.Backend, error) {
		a, err := openAdmin(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return &Control{b}, nil
}

// Close releases the connection or the files.
func (c *Control) Close() error { return c.backend.Close() }
