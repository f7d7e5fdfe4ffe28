package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/internal/webhook"
)

const (
	maxIssuers = 16
	maxMapped  = 256     // roles of one issuer
	maxCA      = 1 << 20 // bytes
)

// issuerList is a list of issuers, in the order of the file.
type issuerList []device.TokenIssuer

// UnmarshalYAML implements the decoder of package settings.
func (l *issuerList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	if len(nodes) > maxIssuers {
		return settings.FailAt(n, "there are more than %d issuers", maxIssuers)
	}
	var list issuerList
	for _, node := range nodes {
		is, err := readIssuer(node)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(other device.TokenIssuer) bool { return other.Issuer == is.Issuer }) {
			return settings.FailAt(node, "issuer %q stands there twice", is.Issuer)
		}
		list = append(list, is)
	}
	*l = list
	return nil
}

func readIssuer(node settings.Node) (device.TokenIssuer, error) {
	var v struct {
		Issuer         string   `yaml:"issuer"`
		Audience       string   `yaml:"audience"`
		JWKS           string   `yaml:"jwks"`
		Algorithms     []string `yaml:"algorithms"`
		RoleClaim      string   `yaml:"role_claim"`
		Roles          roleMap  `yaml:"roles"`
		RequireBinding *bool    `yaml:"require_binding"`
		AllowPrivate   bool     `yaml:"allow_private"`
	}
	if err := settings.DecodeNode(node, &v); err != nil {
		return device.TokenIssuer{}, err
	}
	is := device.TokenIssuer{
		Issuer: v.Issuer, Audience: v.Audience, JWKS: v.JWKS, Algorithms: v.Algorithms,
		RoleClaim: v.RoleClaim, Roles: v.Roles, AllowPrivate: v.AllowPrivate,
	}
	check := bearer.Issuer{
		Issuer: v.Issuer, Audience: v.Audience, JWKS: v.JWKS, Algorithms: v.Algorithms,
		RequireBinding: v.RequireBinding, AllowPrivate: v.AllowPrivate,
	}
	if check.Audience == "" {
		check.Audience = "the device's id" // which the key decides, if nothing else
	}
	if _, err := bearer.New([]bearer.Issuer{check}, bearer.Options{Login: true}); err != nil {
		return device.TokenIssuer{}, settings.FailAt(node, "%s", strings.TrimPrefix(err.Error(), "bearer: "))
	}
	if len(is.Roles) == 0 {
		return device.TokenIssuer{}, settings.FailAt(node, "issuer %q has no roles: roles says which role of this device each value of the claim stands for", is.Issuer)
	}
	return is, nil
}

// roleMap is a mapping of values of a claim to roles.
type roleMap map[string]string

// UnmarshalYAML implements the decoder of package settings.
func (m *roleMap) UnmarshalYAML(n settings.Node) error {
	pairs, err := settings.Entries(n)
	if err != nil {
		return err
	}
	if len(pairs) > maxMapped {
		return settings.FailAt(n, "there are more than %d values", maxMapped)
	}
	roles := make(roleMap, len(pairs))
	for _, pair := range pairs {
		value := pair.Key.GetToken().Value
		role, err := settings.Text(pair.Value)
		switch {
		case err != nil:
			return err
		case value == "":
			return settings.FailAt(pair.Key, "a claim that says nothing stands for no role")
		case role == "" || role == acl.RoleUnpaired:
			return settings.FailAt(pair.Value, "%q is not a role that a token can stand for", role)
		}
		roles[value] = role
	}
	*m = roles
	return nil
}

// An Authorize says which program decides in place of the policies. Without a
// webhook the policies do.
type Authorize struct {
	Webhook string
	Timeout time.Duration  // 0: webhook.DefaultTimeout
	Roots   *x509.CertPool // who may vouch for it; nil: the system's
}

// authorize is an Authorize as latchkeyd.yaml writes it.
type authorize struct {
	Webhook placed     `yaml:"webhook"`
	Timeout answerTime `yaml:"timeout"`
	CA      placed     `yaml:"ca"`
	at      settings.Node
}

// answerTime is how long the program may take.
type answerTime settings.Duration

// UnmarshalYAML implements the decoder of package settings.
func (d *answerTime) UnmarshalYAML(n settings.Node) error {
	if err := (*settings.Duration)(d).UnmarshalYAML(n); err != nil {
		return err
	}
	if time.Duration(*d) > webhook.MaxTimeout {
		return settings.FailAt(n, "whoever asks waits no longer than %v", webhook.MaxTimeout)
	}
	return nil
}

// placed is a text that is checked together with others.
type placed struct {
	text string
	at   settings.Node
}

// UnmarshalYAML implements the decoder of package settings.
func (p *placed) UnmarshalYAML(n settings.Node) (err error) {
	p.at = n
	p.text, err = settings.Text(n)
	return err
}

// UnmarshalYAML implements the decoder of package settings.
func (a *authorize) UnmarshalYAML(n settings.Node) error {
	type plain authorize
	var v plain
	if pairs, err := settings.Entries(n); err != nil || len(pairs) == 0 {
		return err
	}
	if err := settings.DecodeNode(n, &v); err != nil {
		return err
	}
	if v.at = n; v.Webhook.text == "" {
		return settings.FailAt(n, "authorize needs a webhook: unix:/SOCKET, unix:/SOCKET:/PATH or https://HOST/PATH")
	}
	*a = authorize(v)
	return nil
}

// read checks all of it. path and text are those of the configuration, whose
// directory relative names start from.
func (a authorize) read(path string, text []byte) (Authorize, error) {
	if a.at == nil {
		return Authorize{}, nil
	}
	out := Authorize{Webhook: a.Webhook.text, Timeout: time.Duration(a.Timeout)}
	wrong := func(n settings.Node, err error) (Authorize, error) {
		return Authorize{}, settings.ErrorAt(path, text, n, strings.TrimPrefix(err.Error(), "webhook: "))
	}
	if _, err := out.open(nil); err != nil {
		return wrong(a.Webhook.at, err)
	}
	if a.CA.text == "" {
		return out, nil
	}
	name := a.CA.text
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	var err error
	if out.Roots, err = readCA(name); err != nil {
		return wrong(a.CA.at, err)
	}
	if _, err := out.open(nil); err != nil {
		return wrong(a.CA.at, err)
	}
	return out, nil
}

// open makes the client that asks the program. It connects to nothing yet.
func (a Authorize) open(log *slog.Logger) (*webhook.Client, error) {
	return webhook.New(webhook.Config{URL: a.Webhook, Timeout: a.Timeout, Roots: a.Roots, Log: log})
}

// readCA reads certificates in PEM.
func readCA(name string) (*x509.CertPool, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening anything else could wait for ever
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCA+1))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if len(text) > maxCA || !roots.AppendCertsFromPEM(text) {
		return nil, errors.New(name + " holds no certificates in PEM, or too many")
	}
	return roots, nil
}
