package device

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

// visible asks the door whether a name, or a right, may be shown to the peer.
func (p *peer) visible(ctx context.Context, q *acl.Request) bool {
	q.Listing = true
	_, err := p.srv.door.admit(ctx, q)
	return err == nil
}

// core lists, in link format (RFC 6690), the resources that the caller may read.
func (p *peer) core(ctx context.Context, _ *coap.Request) *coap.Response {
	var links []string
	link := func(path, attributes string) {
		if p.visible(ctx, p.question(acl.CoAPGet, path)) {
			links = append(links, "<"+escapePath(path)+">"+attributes)
		}
	}
	link(pathInfo, ";ct=50")
	link(pathServices, ";ct=50")
	if c, ok := p.srv.dev.Handler.(Catalogue); ok {
		for _, path := range c.Resources() {
			attributes := ""
			if c.Observable(path) {
				attributes = ";obs"
			}
			link(path, attributes)
		}
	}
	return &coap.Response{Code: coap.Content, Format: FormatLink, Observe: -1, Body: []byte(strings.Join(links, ","))}
}

// escapePath writes a path as a URI reference.
func escapePath(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c == '/' || c == '-' || c == '.' || c == '_' || c == '~' ||
			c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func (p *peer) info(context.Context, *coap.Request) *coap.Response {
	return reply(coap.Content, struct {
		ID          latchkey.DeviceID    `json:"id"`
		Name        string               `json:"name"`
		Fingerprint latchkey.Fingerprint `json:"fingerprint"`
		Version     string               `json:"version"`
		Uptime      int64                `json:"uptime"` // seconds
	}{p.srv.id, p.srv.name(), p.srv.identity.Fingerprint(), version(), int64(time.Since(p.srv.started).Seconds())})
}

// version is what the build recorded; never made up.
func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "unknown"
}

// listServices names the services that the caller may know of, and says which
// of them it may open now.
func (p *peer) listServices(ctx context.Context, _ *coap.Request) *coap.Response {
	type item struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Open bool   `json:"open"`
	}
	list := []item{}
	for _, s := range p.srv.services.Load().list {
		kind := s.target.Network()
		may := func(action acl.Action) bool {
			q := p.question(action, s.ID)
			q.ServiceType, q.Target = kind, s.target.String()
			return p.visible(ctx, q)
		}
		if may(acl.ServiceList) {
			list = append(list, item{s.ID, kind, may(acl.TunnelOpen)})
		}
	}
	return reply(coap.Content, list)
}

func (p *peer) user() string { return p.subject().User }

// me tells the caller who it is here.
func (p *peer) me(context.Context, *coap.Request) *coap.Response {
	subject := p.subject()
	return reply(coap.Content, struct {
		User string               `json:"user"`
		Role string               `json:"role"`
		Name string               `json:"name"`
		Key  latchkey.Fingerprint `json:"key"`
	}{subject.User, subject.Role, subject.KeyName, p.key})
}

// reply answers with JSON (RFC 8259).
func reply(code Code, v any) *coap.Response {
	body, err := json.Marshal(v)
	if err != nil {
		return refuse(latchkey.ErrInternal)
	}
	return &coap.Response{Code: code, Format: FormatJSON, Observe: -1, Body: body}
}
