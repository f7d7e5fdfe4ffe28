package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/admin"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/internal/tunnel"
)

// program is what next steps call the daemon.
const program = "latchkeyd"

// Setup is what Init needs to know.
type Setup struct {
	Dir      string
	Product  string   // with Device: the id; both "" for the default
	Device   string   //
	Name     string   // for people
	Listen   string   // [HOST]:PORT; "": device.DefaultAddr
	Services []string // NAME=TARGET
	Pairing  []string // modes

	Basestations   []string // HOST:PORT
	BasestationKey string   // fingerprint; needed with Basestations
}

// Made is what Init made.
type Made struct {
	Dir         string               `json:"dir"`
	Fingerprint latchkey.Fingerprint `json:"fingerprint"`
	PairingURL  string               `json:"pairing_url"`
}

// Init makes a directory that Run can work on: key, configuration and store. It
// overwrites nothing, and leaves nothing behind when it fails.
func Init(s Setup) (*Made, error) {
	text, err := s.config()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.Dir, ConfigFile)
	config, err := ParseConfig(path, text)
	if mistake := (*settings.Error)(nil); errors.As(err, &mistake) {
		return nil, errors.New(mistake.Message) // the file does not exist, so its lines say nothing
	}
	if err != nil {
		return nil, err
	}
	return s.create(config, text)
}

// create makes the files, all or none of them.
func (s Setup) create(config *Config, text []byte) (*Made, error) {
	made := &Made{Dir: s.Dir}
	var identity *latchkey.Identity
	err := admin.Create(s.Dir, program, []admin.File{
		{Name: device.KeyFile, Make: func(path string) (err error) {
			identity, err = latchkey.CreateIdentity(path)
			return err
		}},
		{Name: ConfigFile, Make: func(path string) error { return admin.WriteNew(path, text) }},
		{Name: device.AccessFile, Make: func(path string) error {
			access, err := acl.Create(path)
			if err != nil {
				return err
			}
			a := &administrator{access: access, dev: newDevice(s.Dir, config, identity, access, nil)}
			url, err := a.revealURL(latchkey.Secret{}, func() (latchkey.ConnectToken, error) { return device.AddBootstrapToken(access) })
			made.Fingerprint, made.PairingURL = identity.Fingerprint(), url
			return errors.Join(err, access.Close())
		}},
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// config writes the configuration as a person would, with every setting named.
func (s Setup) config() ([]byte, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Configuration of latchkeyd. Unknown settings are errors. SIGHUP reloads all but")
	line("# product, device, listen and discovery, which take effect at the next start.")
	line("")
	if s.Product != "" || s.Device != "" {
		line("product: %s", settings.Quote(s.Product))
		line("device: %s", settings.Quote(s.Device))
	} else {
		line("# product: and device: make the id; without them it is local/ and part of the key")
	}
	line("name: %s", settings.Quote(s.Name))
	if s.Listen == "" {
		s.Listen = device.DefaultAddr
	}
	line("listen: %s # UDP, [HOST]:PORT", settings.Quote(s.Listen))
	line("discovery: true # announce the device on the local network")
	line("log_level: info # debug, info, warn, error")
	line("")
	line("# What tunnels may lead to: NAME: tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")
	services := " {}"
	if len(s.Services) > 0 {
		services = ""
	}
	line("services:%s", services)
	for _, service := range s.Services {
		id, target, ok := strings.Cut(service, "=")
		if !ok {
			return nil, fmt.Errorf("service %q is not NAME=TARGET", service)
		}
		if likely := likelyTarget(target); likely != "" {
			return nil, admin.Fail(nil, "--service "+id+"="+likely, "service %q: %s is no target; did you mean %s?", id, target, likely)
		}
		line("  %s: %s", settings.Quote(id), settings.Quote(target))
	}
	line("")
	line("# CoAP paths that are forwarded, such as")
	line("#   - path: /thermostat/**")
	line("#     to: coap://127.0.0.1:5683")
	line("routes: []")
	line("")
	line("# Pairing modes that are open from the start: local-initial, local-open,")
	line("# password-open, which needs a password from latchkeyd pairing open, and invite")
	modes := make([]string, len(s.Pairing))
	for i, mode := range s.Pairing {
		modes[i] = settings.Quote(mode)
	}
	line("pairing: [%s]", strings.Join(modes, ", "))
	line("")
	s.basestation(line)
	line("")
	line("# sessions, unpaired, unpaired_life, streams, body, observations, dial_time")
	line("limits: {}")
	line("")
	access(line)
	return []byte(b.String()), nil
}

// access writes who else decides, which is nobody.
func access(line func(format string, args ...any)) {
	line("# Whose JSON Web Tokens log in here, such as")
	line("#   - issuer: https://idp.example")
	line("#     jwks: https://idp.example/keys")
	line("#     roles: {staff: user} # what the claim role says, and the role of this device")
	line("tokens: []")
	line("")
	line("# A program that decides in place of the policies, such as")
	line("#   webhook: unix:/run/opa/opa.sock")
	line("authorize: {}")
}

// basestation writes where clients of other networks meet the device.
func (s Setup) basestation(line func(format string, args ...any)) {
	line("# Where clients of other networks meet the device: HOST:PORT of its basestation,")
	line("# and the key that latchkey-basestation fingerprint prints. Without addresses, also")
	line("# after a reload, the device is reached on its own network only.")
	line("basestation:")
	addrs := make([]string, len(s.Basestations))
	for i, addr := range s.Basestations {
		addrs[i] = settings.Quote(addr)
	}
	line("  addresses: [%s]", strings.Join(addrs, ", "))
	line("  key: %s", settings.Quote(s.BasestationKey))
}

// likelyTarget returns the target that somebody means who leaves the scheme
// out; "" when that is unclear.
func likelyTarget(s string) string {
	if strings.Contains(s, "://") {
		return ""
	}
	for _, likely := range []string{"tcp://127.0.0.1:" + s, "tcp://" + s, "unix://" + s, "tcp://127.0.0.1" + s} {
		if _, err := tunnel.ParseTarget(likely); err == nil {
			return likely
		}
	}
	return ""
}
