package webhook

import (
	"encoding/json"
	"errors"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// An input is acl.Request as programs see it. Names and meanings are a promise,
// in docs/authorize.md; fields may be added. A fact that is not known is absent.
type input struct {
	Device      latchkey.DeviceID    `json:"device,omitzero"`
	Key         latchkey.Fingerprint `json:"key,omitzero"`
	User        string               `json:"user,omitzero"`
	Role        string               `json:"role,omitzero"`
	Action      acl.Action           `json:"action"`
	Resource    string               `json:"resource"`
	ServiceType string               `json:"service_type,omitzero"`
	Target      string               `json:"target,omitzero"`
	Path        acl.PathKind         `json:"path,omitzero"`
	Source      netip.Addr           `json:"source,omitzero"`
	Time        time.Time            `json:"time,omitzero"`
	KeyAdded    time.Time            `json:"key_added,omitzero"`
	KeyOrigin   string               `json:"key_origin,omitzero"`
	Claims      map[string]any       `json:"claims,omitzero"`
	Token       *token               `json:"token,omitzero"`
	Listing     bool                 `json:"listing"`
}

// A token is acl.Token. A nil scope limits nothing and is absent; an empty one
// allows nothing and is [].
type token struct {
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject,omitzero"`
	ID      string    `json:"id,omitzero"`
	Role    string    `json:"role"`
	Scope   []string  `json:"scope,omitzero"`
	Expires time.Time `json:"expires"`
}

var errText = errors.New("the request holds a text that JSON cannot carry unchanged")

// encode writes {"input": r}. What JSON would change on the way is not asked
// about: the answer would be for something else.
func encode(r *acl.Request) ([]byte, error) {
	for _, text := range []string{
		r.User, r.Role, string(r.Action), r.Resource, r.ServiceType, r.Target, string(r.Path), r.KeyOrigin, r.Source.Zone(),
	} {
		if !utf8.ValidString(text) {
			return nil, errText
		}
	}
	in := input{
		Device: r.Device, Key: r.Peer, User: r.User, Role: r.Role,
		Action: r.Action, Resource: r.Resource, ServiceType: r.ServiceType, Target: r.Target,
		Path: r.Path, Source: r.Source, Time: r.Time.UTC(), KeyAdded: r.KeyAdded.UTC(), KeyOrigin: r.KeyOrigin,
		Claims: r.Claims, Listing: r.Listing,
	}
	if t := r.Token; t != nil {
		in.Token = &token{t.Issuer, t.Subject, t.ID, t.Role, t.Scope, t.Expires.UTC()}
	}
	return json.Marshal(struct {
		Input input `json:"input"`
	}{in})
}
