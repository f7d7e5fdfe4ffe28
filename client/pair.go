package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/pairing"
)

// PairOptions are the choices of Client.Pair. All may be left zero.
type PairOptions struct {
	Alias   string // to know the device by; "": the device part of its id
	User    string // to become on the device; "": the URL's, or the login name
	KeyName string // for the device's owner to recognise this key; "": the host name

	// AcceptKey is asked when the pairing URL has no key, with the one that
	// answered. Nil refuses.
	AcceptKey func(latchkey.Fingerprint) error
}

// Paired is what came of a pairing.
type Paired struct {
	Alias   string               `json:"alias"`
	Device  latchkey.DeviceID    `json:"device"`
	Key     latchkey.Fingerprint `json:"key"`
	User    string               `json:"user"`
	Role    string               `json:"role"`
	Already bool                 `json:"already"` // the device knew our key before
}

// ErrPairingUnknown reports a pairing that was asked for and not answered: the
// device may have added our key or not. Pairing again tells.
var ErrPairingUnknown = errors.New("client: the device did not answer; it may have added this key: pair again to find out")

// Pair makes our key known to a device, by the first mode that is open to us,
// and records the device. A device that knows our key already only gets
// recorded. An alias that stands for another key is latchkey.ErrConflict and
// nothing is asked of the device. Without a key in the URL AcceptKey decides
// on the one that answered.
func (c *Client) Pair(ctx context.Context, u *latchkey.PairingURL, o PairOptions) (*Paired, error) {
	known, err := c.OpenKnown()
	if err != nil {
		return nil, err
	}
	dev := Device{Alias: o.Alias, ID: u.ID, Key: u.Key, Addrs: u.Addrs, Basestations: u.Basestations, BasestationKey: u.BasestationKey, Token: u.Token, Added: time.Now()}
	if dev.Key.IsZero() {
		if dev.Key, err = c.meet(ctx, u, o.AcceptKey); err != nil {
			return nil, err
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
	conn, err := c.dialToPair(ctx, there)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := conn.pair(ctx, o.fill(u))
	if err != nil {
		return nil, err
	}
	dev.User = reply.User
	if u.ID == (latchkey.DeviceID{}) {
		dev.ID = conn.askID(ctx, dev.ID)
	}
	if l, err := conn.link(); err == nil {
		if base, ok := l.askBasestation(ctx); ok {
			dev.Basestations, dev.BasestationKey, dev.Token = base.Basestations, base.BasestationKey, base.Token
		}
		if l.isLocal() {
			defer c.remember(dev, l.remote(), nil)
		}
	}
	if err := known.Add(dev); err != nil {
		return nil, fmt.Errorf("paired, but not recorded: %w", err)
	}
	return &Paired{Alias: dev.Alias, Device: dev.ID, Key: dev.Key, User: reply.User, Role: reply.Role, Already: reply.Already}, nil
}

// dialToPair prefers the device's own network, where local modes work, to its
// basestation.
func (c *Client) dialToPair(ctx context.Context, dev Device) (*Conn, error) {
	conn := &Conn{client: c, device: dev, options: DialOptions{Via: ViaLocal}}
	_, err := conn.renew(ctx)
	if err == nil {
		return conn, nil
	}
	refused := (*refusedError)(nil)
	if len(dev.Basestations) == 0 || errors.As(err, &refused) || errors.Is(err, latchkey.ErrIdentityChanged) || ctx.Err() != nil {
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

// meet learns the key of a device whose URL does not say it, from the first
// address that answers, and asks whether to accept it.
func (c *Client) meet(ctx context.Context, u *latchkey.PairingURL, accept func(latchkey.Fingerprint) error) (latchkey.Fingerprint, error) {
	var key latchkey.Fingerprint
	if accept == nil {
		return key, fmt.Errorf("client: the address says nothing about the device's key, and nobody is there to accept it: %w", latchkey.ErrUnknownDevice)
	}
	identity, err := c.OpenIdentity()
	if err != nil {
		return key, err
	}
	failed := &DialError{Device: strings.Join(u.Addrs, ", ")}
	for _, addr := range u.Addrs {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		list, err := resolve(ctx, addr)
		if err != nil {
			failed.Tries = append(failed.Tries, Try{addr, err})
			continue
		}
		l, err := c.handshake(ctx, identity, Device{}, DialOptions{}, list[0], func(p secure.Peer) error {
			key = p.Key
			return nil
		})
		if errors.Is(err, latchkey.ErrHandshakeRefused) && !key.IsZero() {
			failed.Tries = append(failed.Tries, Try{addr, &refusedError{err}})
			return key, failed
		}
		if err != nil {
			failed.Tries = append(failed.Tries, Try{addr, err})
			continue
		}
		l.close()
		return key, accept(key)
	}
	return key, failed
}

// fill completes the request from the URL and the machine.
func (o PairOptions) fill(u *latchkey.PairingURL) pairing.Request {
	r := pairing.Request{User: o.User, Name: o.KeyName}
	if r.User == "" {
		r.User = u.User
	}
	if r.User == "" {
		if me, err := user.Current(); err == nil {
			r.User = me.Username[strings.LastIndex(me.Username, `\`)+1:] // without a Windows domain
		}
	}
	if acl.CheckUserName(r.User) != nil && o.User == "" {
		r.User = "owner"
	}
	if r.Name == "" {
		r.Name, _ = os.Hostname() // a nicety
	}
	return r
}

// askID returns the id that the device goes by, or what we took it for.
func (c *Conn) askID(ctx context.Context, otherwise latchkey.DeviceID) latchkey.DeviceID {
	var info struct {
		ID latchkey.DeviceID `json:"id"`
	}
	r, err := c.Get(ctx, "/device/info")
	if err != nil || json.Unmarshal(r.Body, &info) != nil || !info.ID.Valid() {
		return otherwise
	}
	return info.ID
}

// me asks who we are to the device; false if we are nobody, or may not ask.
func (c *Conn) me(ctx context.Context) (pairing.Reply, bool) {
	var me struct{ User, Role string }
	r, err := c.Get(ctx, "/me")
	if err != nil || json.Unmarshal(r.Body, &me) != nil || me.User == "" {
		return pairing.Reply{}, false
	}
	return pairing.Reply{User: me.User, Role: me.Role, Already: true}, true
}

// pair is done if the device knows us; else it goes through the first mode that
// is open and that we can.
func (c *Conn) pair(ctx context.Context, r pairing.Request) (pairing.Reply, error) {
	var status pairing.Status
	answer, err := c.Get(ctx, "/pairing")
	if err == nil {
		status, err = pairing.ReadStatus(answer.Body)
	}
	if status.Paired || errors.Is(err, latchkey.ErrForbidden) { // guests may not ask about pairing
		if reply, paired := c.me(ctx); paired {
			return reply, nil
		}
	}
	if err != nil {
		return pairing.Reply{}, err
	}
	if r.Mode, err = status.Choose(pairing.Have{}); err != nil {
		return pairing.Reply{}, err
	}
	body, err := r.Encode()
	if err != nil {
		return pairing.Reply{}, err
	}
	answer, err = c.Do(ctx, &Request{Method: POST, Path: "/pairing/" + r.Mode.String(), Format: FormatJSON, Accept: NoFormat, Body: body})
	var refused *latchkey.RemoteError
	if err != nil && !errors.As(err, &refused) {
		return pairing.Reply{}, fmt.Errorf("%w (%w)", ErrPairingUnknown, err)
	}
	if err != nil {
		return pairing.Reply{}, err
	}
	return pairing.ReadReply(uint8(answer.Code), answer.Body)
}
