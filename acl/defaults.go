package acl

// The roles that every store has from its creation on. Their policies have the
// same names and may be changed; the roles themselves cannot be removed.
const (
	RoleUnpaired = "unpaired" // peers whose key belongs to no user: may pair or show a token, nothing else
	RoleGuest    = "guest"    // lists services, reads about the device, manages itself
	RoleUser     = "user"     // guest, and every CoAP path, route and service
	RoleAdmin    = "admin"    // everything
)

var builtIn = []string{RoleUnpaired, RoleGuest, RoleUser, RoleAdmin}

// everything matches every resource.
const everything = "**"

// defaultPolicies are the policies of the built-in roles.
func defaultPolicies() map[string][]Statement {
	allow := func(resources []string, actions ...string) Statement {
		return Statement{Effect: Allow, Actions: actions, Resources: resources}
	}
	all := []string{everything}
	return map[string][]Statement{
		RoleUnpaired: {allow(all, "pair:*", string(TokenLogin))},
		RoleGuest: {
			allow([]string{"/.well-known/core", "/device/info", "/services", "/me"}, string(CoAPGet)),
			allow(all, string(ServiceList), "self:*", "pair:*"), // who pairs again is told that it is paired
		},
		RoleUser:  {allow(all, "coap:*", "route:*", string(TunnelOpen))},
		RoleAdmin: {allow(all, "*")},
	}
}

// putDefaults fills a new store.
func putDefaults(tx *Tx) error {
	for _, name := range builtIn {
		p, err := NewPolicy(name, defaultPolicies()[name]...)
		if err != nil {
			return err
		}
		if err := tx.PutPolicy(p); err != nil {
			return err
		}
		if err := tx.PutRole(defaultRole(name)); err != nil {
			return err
		}
	}
	return nil
}
