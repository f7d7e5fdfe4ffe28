package device

import (
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
)

func listRoles(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	list, err := r.Roles(c.after)
	if err != nil {
		return nil, err
	}
	return page(list)
}

func showRole(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	role, err := r.Role(c.value("role"))
	if err != nil {
		return nil, err
	}
	return versioned(coap.Content, role.Version, role)
}

func putRole(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	role := acl.Role{Name: c.value("role")}
	_, err := readForm(c.Body, fields{"policies": &role.Policies}, fields{"name": &role.Name, "includes": &role.Includes})
	if err != nil {
		return nil, err
	}
	if err := sameName(role.Name, c.value("role")); err != nil {
		return nil, err
	}
	out, err := r.PutRole(c.actor(), role, c.terms)
	if err != nil {
		return nil, err
	}
	return versioned(coap.Changed, out.Version, out)
}

func removeRole(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	return gone(r.RemoveRole(c.actor(), c.value("role"), c.terms))
}

func listPolicies(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	list, err := r.Policies(c.after)
	if err != nil {
		return nil, err
	}
	return page(list)
}

func showPolicy(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	policy, err := r.Policy(c.value("policy"))
	if err != nil {
		return nil, err
	}
	return versioned(coap.Content, policy.Version, policy)
}

func putPolicy(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	if len(c.Body) > acl.MaxPolicySize {
		return nil, fmt.Errorf("policy of %d bytes: %w", len(c.Body), latchkey.ErrTooLarge)
	}
	policy, err := acl.ParsePolicy("policy", c.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	if err := sameName(policy.Name(), c.value("policy")); err != nil {
		return nil, err
	}
	out, err := r.PutPolicy(c.actor(), policy, c.terms)
	if err != nil {
		return nil, err
	}
	return versioned(coap.Changed, out.Version, out)
}

func removePolicy(_ *peer, r *roster.Roster, c *call) (*coap.Response, error) {
	return gone(r.RemovePolicy(c.actor(), c.value("policy"), c.terms))
}

// sameName refuses a body for another name than the path's, which is the one that
// was judged.
func sameName(body, path string) error {
	if body != path {
		return fmt.Errorf("%w: the body is for %q, the path for %q", latchkey.ErrProtocol, body, path)
	}
	return nil
}
