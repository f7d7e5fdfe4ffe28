package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// Rules of a device, with their versions.
type rules struct {
	acl.Rules
	policies map[string]string
	roles    map[string]string
}

// version is what a change may replace.
func version(of map[string]string, name string) client.Terms {
	if v, ok := of[name]; ok {
		return client.Terms{Version: v}
	}
	return client.Terms{Version: client.Absent}
}

// readRules asks a device for all that a document's tests may depend on.
func readRules(ctx context.Context, conn *client.Conn, d *acl.Document) (*rules, error) {
	r := &rules{policies: make(map[string]string), roles: make(map[string]string)}
	policies, err := conn.Policies(ctx)
	if err != nil {
		return nil, err
	}
	for _, listed := range policies {
		info, text, err := conn.Policy(ctx, listed.Name)
		if errors.Is(err, latchkey.ErrNotFound) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		policy, err := acl.ParsePolicy("policy "+listed.Name+" of the device", text)
		if err != nil {
			return nil, err
		}
		r.Policies, r.policies[listed.Name] = append(r.Policies, policy), info.Version
	}
	roles, err := conn.Roles(ctx)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		r.Roles, r.roles[role.Name] = append(r.Roles, role.Role), role.Version
	}
	if !slices.ContainsFunc(d.Cases, func(c acl.Case) bool { return c.User != "" }) {
		return r, nil
	}
	users, err := conn.Users(ctx)
	for _, u := range users {
		r.Users = append(r.Users, u.User)
	}
	return r, err
}

// An applied is what came of one policy or role of a document.
type applied struct {
	Kind   string `json:"kind"` // "policy" or "role"
	Name   string `json:"name"`
	Change string `json:"change"` // "added", "changed" or "unchanged"
}

// apply checks a document against what the device has, and then puts it there:
// policies first, since roles refer to them.
func (p *program) apply(ctx context.Context, conn *client.Conn, d *acl.Document) error {
	base, err := readRules(ctx, conn, d)
	if err != nil {
		return err
	}
	if err := d.Resolve(base.Rules); err != nil {
		return err
	}
	if failed := d.Check(base.Rules); len(failed) > 0 {
		for _, f := range failed {
			p.Note("", f)
		}
		return cli.WithNext(errors.New(count(len(failed), "test")+" failed, and nothing was changed"),
			"correct the policy or the test and repeat the command")
	}
	var done []applied
	for _, policy := range d.Policies {
		a := applied{"policy", policy.Name(), difference(base.Policies, policy, (*acl.Policy).Name, samePolicy)}
		if a.Change != unchanged {
			_, err = conn.PutPolicy(ctx, policy, version(base.policies, a.Name))
		}
		if err != nil {
			return halfway(err, done)
		}
		done = append(done, a)
	}
	for _, role := range d.Roles {
		a := applied{"role", role.Name, difference(base.Roles, role, func(r acl.Role) string { return r.Name }, sameRole)}
		if a.Change != unchanged {
			_, err = conn.PutRole(ctx, role, version(base.roles, a.Name))
		}
		if err != nil {
			return halfway(err, done)
		}
		done = append(done, a)
	}
	var t cli.Table
	for _, a := range done {
		t.Add(a.Kind, a.Name, a.Change)
	}
	return p.Print(done, t)
}

const unchanged = "unchanged"

// difference says what putting v makes of a list.
func difference[T any](list []T, v T, name func(T) string, same func(a, b T) bool) string {
	i := slices.IndexFunc(list, func(was T) bool { return name(was) == name(v) })
	switch {
	case i < 0:
		return "added"
	case same(list[i], v):
		return unchanged
	}
	return "changed"
}

func samePolicy(a, b *acl.Policy) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func sameRole(a, b acl.Role) bool {
	return slices.Equal(a.Policies, b.Policies) && slices.Equal(a.Includes, b.Includes)
}

// halfway says what holds already when something could not be put.
func halfway(err error, done []applied) error {
	if meanwhile(err) {
		err = cli.WithNext(err, "look at what was changed and repeat the command")
	}
	var names []string
	for _, a := range done {
		if a.Change != unchanged {
			names = append(names, a.Kind+" "+a.Name)
		}
	}
	if len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; put already: %s", err, strings.Join(names, ", "))
}
