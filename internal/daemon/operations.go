package daemon

import (
	"context"
	"log/slog"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
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

// operations is the whole table; nothing writes to it.
var operations = admin.Table[*administrator]{
	opStatus:        admin.Op((*administrator).status),
	opServices:      admin.Op((*administrator).services),
	opPairingURL:    admin.Op((*administrator).pairingURL),
	opPairingStatus: admin.Op((*administrator).pairingStatus),
	opPairingOpen:   admin.Op((*administrator).openPairing),
	opPairingClose:  admin.Op((*administrator).closePairing),
	opUserList:      admin.Op((*administrator).users),
	opUserShow:      admin.Op((*administrator).user),
	opUserAdd:       admin.Op((*administrator).addUser),
	opUserRemove:    admin.Op((*administrator).removeUser),
	opUserRole:      admin.Op((*administrator).setRole),
	opKeyRemove:     admin.Op((*administrator).removeKey),
	opPolicyList:    admin.Op((*administrator).policies),
	opExplain:       admin.Op((*administrator).explain),
	opReset:         admin.Op((*administrator).reset),
}

// An administrator carries out operations on an open directory.
type administrator struct {
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
		Basestations: c.Basestation.Addrs, BasestationKey: c.Basestation.Key,
		Services: c.Services, Routes: c.Routes, Tokens: c.Tokens, Limits: c.Limits, NoDiscovery: !c.Discovery,
	}
}

// do runs one operation of the table.
func (a *administrator) do(ctx context.Context, name string, in []byte) ([]byte, error) {
	return operations.Do(ctx, a, name, in)
}
