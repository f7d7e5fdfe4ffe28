package daemon

import (
	"context"
	"log/slog"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/audit"
)

// The operations that a Control can ask for.
const (
	opStatus        = "status"
	opServices      = "services"
	opName          = "name"
	opPairingURL    = "pairing-url"
	opPairingStatus = "pairing/status"
	opPairingOpen   = "pairing/open"
	opPairingClose  = "pairing/close"
	opUserList      = "user/list"
	opUserShow      = "user/show"
	opUserAdd       = "user/add"
	opUserRemove    = "user/remove"
	opUserRename    = "user/rename"
	opUserRole      = "user/role"
	opUserExpire    = "user/expire"
	opUserPolicies  = "user/policies"
	opKeyAdd        = "key/add"
	opKeyRename     = "key/rename"
	opKeyRemove     = "key/remove"
	opKeyExpire     = "key/expire"
	opKeyPolicies   = "key/policies"
	opRoleList      = "role/list"
	opRoleShow      = "role/show"
	opRolePut       = "role/put"
	opRoleRemove    = "role/remove"
	opInviteCreate  = "invite/create"
	opInviteList    = "invite/list"
	opInviteRemove  = "invite/remove"
	opPolicyList    = "policy/list"
	opPolicyCheck   = "policy/check"
	opPolicyInForce = "policy/in-force"
	opPolicyApply   = "policy/apply"
	opExplain       = "explain"
	opAuditAnchor   = "audit/anchor"
	opTokenList     = "token/list"
	opTokenCreate   = "token/create"
	opTokenRevoke   = "token/revoke"
	opBackup        = "backup"
	opRestore       = "restore"
	opReset         = "reset"
)

// operations is the whole table; nothing writes to it.
var operations = admin.Table[*administrator]{
	opStatus:        admin.Op((*administrator).status),
	opServices:      admin.Op((*administrator).services),
	opName:          admin.Op((*administrator).name),
	opPairingURL:    admin.Op((*administrator).pairingURL),
	opPairingStatus: admin.Op((*administrator).pairingStatus),
	opPairingOpen:   admin.Op((*administrator).openPairing),
	opPairingClose:  admin.Op((*administrator).closePairing),
	opUserList:      admin.Op((*administrator).users),
	opUserShow:      admin.Op((*administrator).user),
	opUserAdd:       admin.Op((*administrator).addUser),
	opUserRemove:    admin.Op((*administrator).removeUser),
	opUserRename:    admin.Op((*administrator).renameUser),
	opUserRole:      admin.Op((*administrator).setRole),
	opUserExpire:    admin.Op((*administrator).setExpiry),
	opUserPolicies:  admin.Op((*administrator).setPolicies),
	opKeyAdd:        admin.Op((*administrator).addKey),
	opKeyRename:     admin.Op((*administrator).renameKey),
	opKeyRemove:     admin.Op((*administrator).removeKey),
	opKeyExpire:     admin.Op((*administrator).setKeyExpiry),
	opKeyPolicies:   admin.Op((*administrator).setKeyPolicies),
	opRoleList:      admin.Op((*administrator).roles),
	opRoleShow:      admin.Op((*administrator).role),
	opRolePut:       admin.Op((*administrator).putRole),
	opRoleRemove:    admin.Op((*administrator).removeRole),
	opInviteCreate:  admin.Op((*administrator).invite),
	opInviteList:    admin.Op((*administrator).invites),
	opInviteRemove:  admin.Op((*administrator).removeInvite),
	opPolicyList:    admin.Op((*administrator).policies),
	opPolicyCheck:   admin.Op((*administrator).checkPolicies),
	opPolicyInForce: admin.Op((*administrator).checkInForce),
	opPolicyApply:   admin.Op((*administrator).applyPolicies),
	opExplain:       admin.Op((*administrator).explain),
	opAuditAnchor:   admin.Op((*administrator).anchor),
	opTokenList:     admin.Op((*administrator).tokens),
	opTokenCreate:   admin.Op((*administrator).createToken),
	opTokenRevoke:   admin.Op((*administrator).revokeToken),
	opBackup:        admin.Op((*administrator).backup),
	opRestore:       admin.Op((*administrator).restore),
	opReset:         admin.Op((*administrator).reset),
}

// An administrator carries out operations on an open directory.
type administrator struct {
	dir      string
	identity *latchkey.Identity
	key      latchkey.Fingerprint // of identity
	access   *acl.Store
	audit    *audit.Log // nil before audited, if running is not set
	log      *slog.Logger
	config   func() *Config
	dev      *device.Device // configured, and serving if running is set
	hook     *delegate      // that decides in place of the policies; nil: they do, if running is set
	running  bool
}

// newDevice configures a device as c says.
func newDevice(dir string, c *Config, identity *latchkey.Identity, access *acl.Store, log *slog.Logger) *device.Device {
	return &device.Device{
		Dir: dir, Identity: identity, Access: access, Logger: log,
		ID: c.ID, Name: c.Name, Addr: c.Listen, Pairing: c.Pairing,
		Basestations: c.Basestation.Addrs, BasestationKey: c.Basestation.Key,
		Services: c.Services, Routes: c.Routes, Tokens: c.Tokens, Limits: c.Limits, NoDiscovery: !c.Discovery,
	}
}

// do runs one operation of the table.
func (a *administrator) do(ctx context.Context, name string, in []byte) ([]byte, error) {
	return operations.Do(ctx, a, name, in)
}
