package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// The operations that a Control can ask for.
const (
	opStatus        = "status"
	opServices      = "services"
	opPairingURL    = "pairing-url"
	opPairingStatus = "pairing/status"
	opPairingOpen   = "pairing/open"
	opPairingClose  = "pairing/close"
	opUserList      = "user/list"
	opUserShow      = "user/show"
	opUserAdd       = "user/add"
	opUserRemove    = "user/remove"
	opUserRole      = "user/role"
	opKeyRemove     = "key/remove"
	opPolicyList    = "policy/list"
	opExplain       = "explain"
	opReset         = "reset"
)

// An operation reads its argument, acts, and returns what is to be answered.
type operation func(a *admin, ctx context.Context, in []byte) (any, error)

// operations is the whole table; nothing writes to it.
var operations = map[string]operation{
	opStatus:        op((*admin).status),
	opServices:      op((*admin).services),
	opPairingURL:    op((*admin).pairingURL),
	opPairingStatus: op((*admin).pairingStatus),
	opPairingOpen:   op((*admin).openPairing),
	opPairingClose:  op((*admin).closePairing),
	opUserList:      op((*admin).users),
	opUserShow:      op((*admin).user),
	opUserAdd:       op((*admin).addUser),
	opUserRemove:    op((*admin).removeUser),
	opUserRole:      op((*admin).setRole),
	opKeyRemove:     op((*admin).removeKey),
	opPolicyList:    op((*admin).policies),
	opExplain:       op((*admin).explain),
	opReset:         op((*admin).reset),
}

// op makes an operation of a method with typed argument and answer.
func op[In, Out any](f func(*admin, context.Context, In) (Out, error)) operation {
	return func(a *admin, ctx context.Context, text []byte) (any, error) {
		var in In
		if err := decodeJSON(text, &in); err != nil {
			return nil, fmt.Errorf("read the argument: %w", err)
		}
		return f(a, ctx, in)
	}
}

// none is the argument or answer of an operation that has none.
type none struct{}

// An admin carries out operations on an open directory.
type admin struct {
	dir     string
	key     latchkey.Fingerprint
	access  *acl.Store
	log     *slog.Logger
	config  func() *Config
	dev     *device.Device // configured, and serving if running is set
	running bool
}

// newDevice configures a device as c says.
func newDevice(c *Config, identity *latchkey.Identity, access *acl.Store, log *slog.Logger) *device.Device {
	return &device.Device{
		Identity: identity, Access: access, Logger: log,
		ID: c.ID, Name: c.Name, Addr: c.Listen, Pairing: c.Pairing,
		Services: c.Services, Routes: c.Routes, Limits: c.Limits, NoDiscovery: !c.Discovery,
	}
}

// do runs one operation of the table.
func (a *admin) do(ctx context.Context, name string, in []byte) ([]byte, error) {
	run, ok := operations[name]
	if !ok {
		return nil, fmt.Errorf("%w: operation %q", latchkey.ErrNotFound, name)
	}
	out, err := run(a, ctx, in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}
