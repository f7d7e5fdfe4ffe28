package device

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/pairing"
)

func listInvites(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	list, err := r.Invites(c.after)
	if err != nil {
		return nil, err
	}
	return page(list)
}

func invite(p *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	i := roster.NewInvite{User: c.value("user")}
	if _, err := readForm(c.Body, nil, fields{"role": &i.Role, "expires": &i.Expires}); err != nil {
		return nil, err
	}
	if err := c.gives(i.Role); err != nil {
		return nil, err
	}
	made, err := r.Invite(c.actor(), i)
	if err != nil {
		return nil, err
	}
	u, err := invitationURL(p.srv.info().PairingURL, p.srv.access, made)
	if err != nil {
		return nil, err
	}
	return reply(coap.Created, struct {
		URL     string    `json:"url"`
		ID      string    `json:"id"`
		User    string    `json:"user"`
		Role    string    `json:"role"`
		Expires time.Time `json:"expires"`
		Open    bool      `json:"open"` // the mode by which it works
	}{u.Reveal(), made.ID, made.User, made.Role, made.Expires, p.srv.pairing.Modes(p.srv.clock.now()).Has(pairing.Invite)}), nil
}

func removeInvite(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	return gone(r.RemoveInvite(c.actor(), c.value("id")))
}

// InvitationURL returns the URL by which the holder of an invitation finds and
// joins a device with these fields and the store, whether it serves or not. It is
// as secret as the invitation.
func (d *Device) InvitationURL(store *acl.Store, i pairing.Invitation) (*latchkey.PairingURL, error) {
	u, err := d.PairingURL()
	if err != nil {
		return nil, err
	}
	return invitationURL(u, store, i)
}

func invitationURL(u *latchkey.PairingURL, store *acl.Store, i pairing.Invitation) (*latchkey.PairingURL, error) {
	u.User, u.Invite, u.Password = i.User, i.ID, i.Password
	if len(u.Basestations) == 0 {
		return u, nil
	}
	secret, err := connectSecret(store)
	if err != nil {
		return nil, err
	}
	u.Token, err = inviteToken(secret, i.ID)
	return u, err
}

// inviteUses is how often the connect token of an invitation opens the gate:
// enough for a person who makes mistakes on a bad network.
const inviteUses = 32

// inviteToken is the connect token of an invitation. Like those of keys it is
// stored nowhere, and it holds as long as the invitation does.
func inviteToken(secret []byte, id string) (latchkey.ConnectToken, error) {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("latchkey invitation token\x00" + id))
	return latchkey.ParseConnectToken(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]))
}

// inviteTokens lists the tokens of the invitations that hold.
func inviteTokens(tx *acl.Tx, secret []byte, now time.Time) (list []signal.Token, err error) {
	for _, i := range tx.Invites() {
		if i.Expires.IsZero() || !now.Before(i.Expires) {
			continue // no token of unknown holders is without end
		}
		token, err := inviteToken(secret, i.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, signal.Token{Hash: sha256.Sum256([]byte(token.Reveal())), Expires: i.Expires, Uses: inviteUses})
	}
	return list, nil
}
