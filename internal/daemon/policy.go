package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/admin"
)

// A Policy is one policy of the store and the roles that have it.
type Policy struct {
	Name  string          `json:"name"`
	Roles []string        `json:"roles"`
	Text  json.RawMessage `json:"policy"` // as acl.ParsePolicy reads it
}

// Policies lists the policies of the store.
func (c *Control) Policies(ctx context.Context) ([]Policy, error) {
	return admin.Call[[]Policy](ctx, c.backend, opPolicyList, admin.None{})
}

func (a *administrator) policies(context.Context, admin.None) ([]Policy, error) {
	list := []Policy{}
	err := a.access.View(func(tx *acl.Tx) error {
		roles := map[string][]string{}
		for _, r := range tx.Roles() {
			for _, name := range r.Policies {
				roles[name] = append(roles[name], r.Name)
			}
		}
		for _, p := range tx.Policies() {
			text, err := json.Marshal(p)
			if err != nil {
				return err
			}
			list = append(list, Policy{p.Name(), nonNil(roles[p.Name()]), text})
		}
		return nil
	})
	return list, err
}

// CheckPolicy reads the policy in a file, or on stdin if path is "-", and says
// what is wrong with it and where.
func CheckPolicy(path string, stdin io.Reader) (*acl.Policy, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, acl.MaxPolicySize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return acl.ParsePolicy(path, text)
}
