package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/pairing"
)

// An Invite is an invitation that nobody has used yet.
type Invite struct {
	ID       string    `json:"id"`
	User     string    `json:"user"` // whom the invited becomes
	Role     string    `json:"role"`
	By       string    `json:"by,omitempty"` // who made it
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	Failures int       `json:"failures,omitempty"` // wrong passwords so far
}

// Invites lists the invitations that hold.
func (c *Conn) Invites(ctx context.Context) ([]Invite, error) {
	return pages(ctx, c, "/invites", func(i Invite) string { return i.ID })
}

// An Invitation lets its holder in, once.
type Invitation struct {
	URL     *latchkey.PairingURL // as secret as a password: whoever has it is the invited
	ID      string               // for RemoveInvite
	User    string               // whom the invited becomes
	Role    string
	Expires time.Time
	Open    bool // the pairing mode by which it works is open
}

// Invite makes an invitation for a user that is not there yet, by which one key
// can pair once. role "" is guest; life 0 is the device's choice.
func (c *Conn) Invite(ctx context.Context, user, role string, life time.Duration) (Invitation, error) {
	if err := checkInvite(user, life); err != nil {
		return Invitation{}, err
	}
	body := struct {
		Role    string    `json:"role,omitempty"`
		Expires time.Time `json:"expires,omitzero"`
	}{Role: role}
	if life != 0 {
		body.Expires = time.Now().Add(life)
	}
	var made struct {
		URL, ID, User, Role string
		Expires             time.Time
		Open                bool
	}
	if err := c.change(ctx, change{method: POST, path: path("invites", user), body: body, into: &made}); err != nil {
		return Invitation{}, err
	}
	u, err := latchkey.ParsePairingURL(made.URL)
	if err != nil {
		return Invitation{}, fmt.Errorf("%w: invitation: %w", latchkey.ErrProtocol, err)
	}
	return Invitation{URL: u, ID: made.ID, User: made.User, Role: made.Role, Expires: made.Expires, Open: made.Open}, nil
}

// RemoveInvite withdraws an invitation.
func (c *Conn) RemoveInvite(ctx context.Context, id string) error {
	return c.change(ctx, change{method: DELETE, path: path("invites", id)})
}

// SetName gives the device another friendly name.
func (c *Conn) SetName(ctx context.Context, name string) error {
	if err := checkDeviceName(name); err != nil {
		return err
	}
	return c.change(ctx, change{method: PUT, path: "/device/name", body: struct {
		Name string `json:"name"`
	}{name}})
}

// Settings are what an administrator may set from afar.
type Settings struct {
	Name    string   `json:"name"`    // of the device
	Pairing []string `json:"pairing"` // modes that are open
}

// Settings returns the settings of the device.
func (c *Conn) Settings(ctx context.Context) (s Settings, err error) {
	err = c.read(ctx, "/settings", &s)
	return s, err
}

// SetPairing opens a pairing mode, until it is closed or used up or for some
// time, or closes it.
func (c *Conn) SetPairing(ctx context.Context, mode pairing.Modes, open bool, life time.Duration) error {
	body := struct {
		Open bool   `json:"open"`
		For  string `json:"for,omitempty"`
	}{Open: open}
	if open && life != 0 {
		body.For = life.String()
	}
	return c.change(ctx, change{method: PUT, path: path("settings", "pairing", mode.String()), body: body})
}

// Audit returns records of the device's audit log in JSON, as
// docs/protocol.md has them: those that follow the record of that number, or the
// newest for 0.
func (c *Conn) Audit(ctx context.Context, after uint64) (list []json.RawMessage, err error) {
	at := "/audit"
	if after > 0 {
		at += "?after=" + strconv.FormatUint(after, 10)
	}
	err = c.read(ctx, at, &list)
	return list, err
}
