package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// PairOptions are the choices of Client.Pair. All may be left zero.
type PairOptions struct {
	Alias   string // to know the device by; "": the device part of its id
	User    string // to become on the device; "": the URL's, or the login name
	KeyName string // for the device's owner to recognise this key; "": the host name

	// Password is the device's, or the invitation's. Zero: the URL's, if it has
	// one. It never leaves this process.
	Password latchkey.Secret
	// AskPassword is asked when there is no password and nothing else would do,
	// and again after a wrong one until it returns an error. Nil: nobody is asked.
	AskPassword func(context.Context, PasswordQuestion) (latchkey.Secret, error)

	// Login is that of DialOptions. With it nothing is paired: the device is
	// recorded if the token lets us in.
	Login func(context.Context) (string, error)

	// AcceptKey is asked when the pairing URL has no key, with the one that
	// answered, unless a password proves that it is the right one. Nil refuses.
	AcceptKey func(latchkey.Fingerprint) error
}

// A PasswordQuestion says which password a pairing needs.
type PasswordQuestion struct {
	Device latchkey.DeviceID // as far as it is known
	Mode   pairing.Modes     // pairing.PasswordOpen: the device's; pairing.Invite: the invitation's
	Wrong  int               // passwords in this pairing that were not it
}

// Paired is what came of a pairing.
type Paired struct {
	Alias   string               `json:"alias"`
	Device  latchkey.DeviceID    `json:"device"`
	Key     latchkey.Fingerprint `json:"key"`
	User    string               `json:"user"`
	Role    string               `json:"role"`
	Already bool                 `json:"already"`         // the device knew our key before
	Token   bool                 `json:"token,omitempty"` // it still does not: a token let us in, as its subject User
}

// ErrPairingUnknown reports a pairing that was asked for and not answered: the
// device may have added our key or not. Pairing again tells.
var ErrPairingUnknown = errors.New("client: the device did not answer; it may have added this key: pair again to find out")

// ErrNoPassword reports an invitation whose password is not at hand.
var ErrNoPassword = errors.New("client: the invitation has a password, which is missing")

// Pair makes our key known to a device, by a mode that is open to us, and
// records the device. A device that knows our key already only gets recorded.
// An invitation in the URL is used or nothing is; without one the device says
// which modes are open. A password is proved by SPAKE2+ (RFC 9383), so that
// neither the device nor anybody between learns it. An alias that stands for
// another key is latchkey.ErrConflict and nothing is asked of the device.
//
// If no mode is possible with what is at hand the error is a
// *pairing.MissingError, which says what would help. latchkey.ErrWrongPassword:
// the device means another password; latchkey.ErrTooMany: it takes no more
// guesses from here for now.
func (c *Client) Pair(ctx context.Context, u *latchkey.PairingURL, o PairOptions) (*Paired, error) {
	known, err := c.OpenKnown()
	if err != nil {
		return nil, err
	}
	dev := Device{Alias: o.Alias, ID: u.ID, Key: u.Key, Addrs: u.Addrs, Basestations: u.Basestations, BasestationKey: u.BasestationKey, Token: u.Token, Added: time.Now()}
	if dev.Key.IsZero() {
		if dev.Key, err = c.meet(ctx, u); err != nil {
			return nil, err
		}
		if o.Login != nil { // no token goes to whoever answers
			if err := o.accept(dev.Key); err != nil {
				return nil, err
			}
		}
	}
	if dev.ID == (latchkey.DeviceID{}) {
		dev.ID = latchkey.DefaultDeviceID(dev.Key)
	}
	if dev.Alias == "" {
		dev.Alias = dev.ID.Device
	}
	if err := c.checkAlias(known, dev); err != nil {
		return nil, err
	}
	there := dev
	there.Alias = "" // it is not known yet
	conn, err := c.dialToPair(ctx, there, o.Login)
	if err != nil {
		return nil, err
	}
	p := &pairer{url: u, options: o, conn: conn}
	defer func() { p.conn.Close() }()
	reply, err := p.run(ctx)
	if err != nil {
		return nil, err
	}
	if o.Login == nil {
		dev.User = reply.User
	}
	c.complete(ctx, p.conn, u, &dev)
	if err := known.Add(dev); err != nil {
		return nil, fmt.Errorf("paired, but not recorded: %w", err)
	}
	if l, err := p.conn.link(); err == nil && l.isLocal() {
		c.remember(dev, l.remote(), nil)
	}
	return &Paired{Alias: dev.Alias, Device: dev.ID, Key: dev.Key, User: reply.User, Role: reply.Role, Already: reply.Already, Token: o.Login != nil}, nil
}

// complete asks the device for what its URL did not say, or says of yesterday.
func (c *Client) complete(ctx context.Context, conn *Conn, u *latchkey.PairingURL, dev *Device) {
	if u.ID == (latchkey.DeviceID{}) {
		dev.ID = conn.askID(ctx, dev.ID)
	}
	if l, err := conn.link(); err == nil {
		if base, ok := l.askBasestation(ctx); ok {
			dev.Basestations, dev.BasestationKey, dev.Token = base.Basestations, base.BasestationKey, base.Token
		}
	}
}

// dialToPair prefers the device's own network, where local modes work, to its
// basestation.
func (c *Client) dialToPair(ctx context.Context, dev Device, login func(context.Context) (string, error)) (*Conn, error) {
	conn := &Conn{client: c, device: dev, options: DialOptions{Via: ViaLocal, Login: login}}
	_, err := conn.renew(ctx)
	if err == nil {
		return conn, nil
	}
	refused, unreached := (*refusedError)(nil), (*DialError)(nil)
	if !errors.As(err, &unreached) || len(dev.Basestations) == 0 || errors.As(err, &refused) || errors.Is(err, latchkey.ErrIdentityChanged) || ctx.Err() != nil {
		return nil, err
	}
	conn.options.Via = viaBasestation
	if _, remote := conn.renew(ctx); remote != nil {
		var near, far *DialError
		if errors.As(err, &near) && errors.As(remote, &far) {
			if len(near.Tries) == 0 {
				near.Tries = []Try{notFound}
			}
			near.Tries = append(near.Tries, far.Tries...)
			return nil, near
		}
		return nil, remote
	}
	return conn, nil
}

// checkAlias refuses an alias that stands for another device, before the
// device is asked for anything.
func (c *Client) checkAlias(known *Known, dev Device) error {
	was, err := known.Lookup(dev.Alias)
	if errors.Is(err, latchkey.ErrUnknownDevice) {
		return nil
	}
	if err == nil && was.Key != dev.Key {
		return taken(dev, was)
	}
	return err
}

// request is what the device is asked for by mode, completed from the URL and
// the machine. An invitation says itself who its holder becomes.
func (o PairOptions) request(u *latchkey.PairingURL, mode pairing.Modes) pairing.Request {
	r := pairing.Request{Mode: mode, User: o.User, Name: o.KeyName}
	if r.User == "" {
		r.User = u.User
	}
	if mode == pairing.Invite {
		r.Invite = u.Invite
	} else if r.User == "" {
		if me, err := user.Current(); err == nil {
			r.User = me.Username[strings.LastIndex(me.Username, `\`)+1:] // without a Windows domain
		}
		if acl.CheckUserName(r.User) != nil {
			r.User = "owner"
		}
	}
	if r.Name == "" {
		r.Name, _ = os.Hostname() // a nicety
	}
	return r
}
