package device

import (
	"time"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

func listUsers(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	list, err := r.Users(c.after)
	if err != nil {
		return nil, err
	}
	return page(list)
}

func showUser(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	a, err := r.User(c.value("user"))
	if err != nil {
		return nil, err
	}
	return versioned(coap.Content, a.Version, a)
}

func addUser(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	u := roster.NewUser{Name: c.value("user")}
	_, err := readForm(c.Body, nil, fields{"role": &u.Role, "expires": &u.Expires, "key": &u.Key, "key_name": &u.KeyName})
	if err != nil {
		return nil, err
	}
	if err := c.gives(u.Role); err != nil {
		return nil, err
	}
	a, err := r.AddUser(c.actor(), u)
	return account(coap.Created, a, err)
}

func removeUser(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	return gone(r.RemoveUser(c.actor(), c.value("user"), c.terms))
}

func renameUser(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var name string
	if _, err := readForm(c.Body, fields{"name": &name}, nil); err != nil {
		return nil, err
	}
	a, err := r.Rename(c.actor(), c.value("user"), name, c.terms)
	return account(coap.Changed, a, err)
}

func setRole(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var role string
	anyway := false
	if _, err := readForm(c.Body, fields{"role": &role}, fields{"force": &anyway}); err != nil {
		return nil, err
	}
	c.terms.Force = c.terms.Force || anyway // the door was asked about user:role
	a, err := r.SetRole(c.actor(), c.value("user"), role, c.terms)
	return account(coap.Changed, a, err)
}

func setExpiry(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var expires time.Time
	if _, err := readForm(c.Body, nil, fields{"expires": &expires}); err != nil {
		return nil, err
	}
	a, err := r.SetExpiry(c.actor(), c.value("user"), expires, c.terms)
	return account(coap.Changed, a, err)
}

func setPolicies(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var policies []string
	if _, err := readForm(c.Body, fields{"policies": &policies}, nil); err != nil {
		return nil, err
	}
	a, err := r.SetPolicies(c.actor(), c.value("user"), policies, c.terms)
	return account(coap.Changed, a, err)
}

func addKey(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var k roster.NewKey
	if _, err := readForm(c.Body, nil, fields{"name": &k.Name, "expires": &k.Expires}); err != nil {
		return nil, err
	}
	var err error
	if k.Fingerprint, err = c.key(); err != nil {
		return nil, err
	}
	a, err := r.AddKey(c.actor(), c.value("user"), k, c.terms)
	return account(coap.Created, a, err)
}

func changeKey(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	var name string
	var expires time.Time
	var policies []string
	there, err := readForm(c.Body, nil, fields{"name": &name, "expires": &expires, "policies": &policies})
	if err != nil {
		return nil, err
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	var change roster.KeyChange
	if there["name"] {
		change.Name = &name
	}
	if there["expires"] {
		change.Expires = &expires
	}
	if there["policies"] {
		change.Policies = &policies
	}
	a, err := r.ChangeKey(c.actor(), c.value("user"), key, change, c.terms)
	return account(coap.Changed, a, err)
}

func removeKey(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	return gone(r.RemoveKey(c.actor(), c.value("user"), key, c.terms))
}

// account answers a change of a user with what is there now.
func account(code Code, a acl.Account, err error) (*coap.Response, error) {
	if err != nil {
		return nil, err
	}
	return versioned(code, a.Version, a)
}

// gone answers a removal.
func gone(err error) (*coap.Response, error) {
	if err != nil {
		return nil, err
	}
	return coap.NewResponse(coap.Deleted), nil
}
