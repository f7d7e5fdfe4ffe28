package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A pairer goes through one pairing with one device.
type pairer struct {
	url     *latchkey.PairingURL
	options PairOptions
	conn    *Conn // of the present session
}

// run pairs, or finds out that we are paired, or that a token lets us in.
func (p *pairer) run(ctx context.Context) (pairing.Reply, error) {
	if p.options.Login != nil {
		l, err := p.conn.link()
		if err != nil {
			return pairing.Reply{}, err
		}
		return pairing.Reply{User: l.loggedIn.subject, Role: l.loggedIn.role}, nil
	}
	mode, reply, err := p.choose(ctx)
	if err != nil || mode == 0 {
		return reply, err
	}
	proves := mode == pairing.PasswordOpen || mode == pairing.Invite
	if p.url.Key.IsZero() && !proves {
		if err := p.options.accept(p.conn.Device()); err != nil {
			return reply, err
		}
	}
	if proves {
		reply, err = p.prove(ctx, mode)
	} else {
		reply, err = p.exchange(ctx, mode, latchkey.Secret{})
	}
	if err == nil && p.url.Key.IsZero() && proves && !reply.Proved {
		err = p.options.accept(p.conn.Device())
	}
	return reply, err
}

// choose picks the mode, or returns who we are if the device knows our key; then
// the mode is 0.
func (p *pairer) choose(ctx context.Context) (mode pairing.Modes, reply pairing.Reply, err error) {
	var status pairing.Status
	answer, err := p.conn.Get(ctx, "/pairing")
	if err == nil {
		status, err = pairing.ReadStatus(answer.Body)
	}
	if status.Paired || errors.Is(err, latchkey.ErrForbidden) { // guests may not ask about pairing
		if reply, paired := p.conn.me(ctx); paired {
			if p.url.Key.IsZero() {
				err = p.options.accept(p.conn.Device())
			} else {
				err = nil
			}
			return 0, reply, err
		}
	}
	if err != nil {
		return 0, reply, err
	}
	mode, err = status.Choose(pairing.Have{Invite: p.url.Invite != "", Password: !p.password().IsZero()})
	if missing := (*pairing.MissingError)(nil); errors.As(err, &missing) && missing.Password && p.options.AskPassword != nil {
		return pairing.PasswordOpen, reply, nil
	}
	return mode, reply, err
}

// password is the one at hand, if any.
func (p *pairer) password() latchkey.Secret {
	if p.options.Password.IsZero() {
		return p.url.Password
	}
	return p.options.Password
}

// prove goes through a mode with a password, and asks for that if there is none.
func (p *pairer) prove(ctx context.Context, mode pairing.Modes) (pairing.Reply, error) {
	if password := p.password(); !password.IsZero() {
		return p.exchange(ctx, mode, password)
	}
	if p.options.AskPassword == nil {
		return pairing.Reply{}, ErrNoPassword
	}
	for wrong := 0; ; wrong++ {
		password, err := p.options.AskPassword(ctx, PasswordQuestion{Device: p.conn.device.ID, Mode: mode, Wrong: wrong})
		if err != nil {
			return pairing.Reply{}, err
		}
		if p.conn.Context().Err() != nil { // a stranger's session does not last for as long as people think
			conn, err := p.conn.client.dialToPair(ctx, p.conn.device, nil)
			if err != nil {
				return pairing.Reply{}, err
			}
			_ = p.conn.Close()
			p.conn = conn
		}
		reply, err := p.exchange(ctx, mode, password)
		if !errors.Is(err, latchkey.ErrWrongPassword) {
			return reply, err
		}
	}
}

// exchange carries the messages of one mode to and fro.
func (p *pairer) exchange(ctx context.Context, mode pairing.Modes, password latchkey.Secret) (pairing.Reply, error) {
	identity, err := p.conn.client.OpenIdentity()
	if err != nil {
		return pairing.Reply{}, err
	}
	binding, err := p.conn.pairingBinding()
	if err != nil {
		return pairing.Reply{}, err
	}
	prover := pairing.NewProver(pairing.ProverConfig{
		Request: p.options.request(p.url, mode), Password: password,
		Client: identity.Fingerprint(), Device: p.conn.Device(), ID: p.url.ID, Binding: binding,
	})
	var code uint8
	var text []byte
	for {
		body, done, err := prover.Next(code, text)
		if err != nil {
			return pairing.Reply{}, err
		}
		if done != nil {
			return *done, nil
		}
		answer, err := p.conn.Do(ctx, &Request{Method: POST, Path: "/pairing/" + mode.String(), Format: FormatJSON, Accept: NoFormat, Body: body})
		var refused *latchkey.RemoteError
		if err != nil && !errors.As(err, &refused) {
			return pairing.Reply{}, fmt.Errorf("%w (%w)", ErrPairingUnknown, err)
		}
		if err != nil {
			return pairing.Reply{}, err
		}
		code, text = uint8(answer.Code), answer.Body
	}
}

// pairingBinding ties a pairing to this session, if both ends can.
func (c *Conn) pairingBinding() ([]byte, error) {
	l, err := c.link()
	if err != nil || l.session.Peer().ALPN != secure.Protocol {
		return nil, err
	}
	return l.session.Export(pairing.Label, pairing.BindingSize)
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
