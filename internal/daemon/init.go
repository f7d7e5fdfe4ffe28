package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// Setup is what Init needs to know.
type Setup struct {
	Dir      string
	Product  string   // with Device: the id; both "" for the default
	Device   string   //
	Name     string   // for people
	Listen   string   // [HOST]:PORT; "": device.DefaultAddr
	Services []string // NAME=TARGET
	Pairing  []string // modes
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
	if mistake := (*ConfigError)(nil); errors.As(err, &mistake) {
		return nil, errors.New(mistake.Message) // the file does not exist, so its lines say nothing
	}
	if err != nil {
		return nil, err
	}
	if err := unused(s.Dir); err != nil {
		return nil, err
	}
	return s.create(config, text)
}

// create makes the files, all or none of them.
func (s Setup) create(config *Config, text []byte) (made *Made, err error) {
	var files []string // that are made
	defer func() {
		for _, path := range files {
			if err != nil {
				_ = os.Remove(path) // best effort: the error above counts
			}
		}
	}()
	key := filepath.Join(s.Dir, device.KeyFile)
	identity, err := latchkey.CreateIdentity(key)
	if err != nil {
		return nil, err
	}
	files = append(files, key)
	path := filepath.Join(s.Dir, ConfigFile)
	if err := writeNew(path, text); err != nil {
		return nil, err
	}
	files = append(files, path)
	url, err := newDevice(config, identity, nil, nil).PairingURL()
	if err != nil {
		return nil, err
	}
	access, err := acl.Create(filepath.Join(s.Dir, device.AccessFile))
	if err != nil {
		return nil, err
	}
	if err := access.Close(); err != nil {
		return nil, err
	}
	return &Made{Dir: s.Dir, Fingerprint: identity.Fingerprint(), PairingURL: url.Reveal()}, nil
}

// unused refuses a directory that holds any file of a daemon.
func unused(dir string) error {
	for _, name := range []string{device.KeyFile, ConfigFile, device.AccessFile} {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return &ControlError{
				Message: path + " is there already; init overwrites nothing",
				Next:    "latchkeyd run --dir " + dir + ", or choose another directory",
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// config writes the configuration as a person would, with every setting named.
func (s Setup) config() ([]byte, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Configuration of latchkeyd. Unknown settings are errors. SIGHUP reloads all but")
	line("# product, device, listen and discovery, which take effect at the next start.")
	line("")
	if s.Product != "" || s.Device != "" {
		line("product: %s", quote(s.Product))
		line("device: %s", quote(s.Device))
	} else {
		line("# product: and device: make the id; without them it is local/ and part of the key")
	}
	line("name: %s", quote(s.Name))
	if s.Listen == "" {
		s.Listen = device.DefaultAddr
	}
	line("listen: %s # UDP, [HOST]:PORT", quote(s.Listen))
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
		line("  %s: %s", quote(id), quote(target))
	}
	line("")
	line("# CoAP paths that are forwarded, such as")
	line("#   - path: /thermostat/**")
	line("#     to: coap://127.0.0.1:5683")
	line("routes: []")
	line("")
	line("# Pairing modes that are open from the start: local-initial")
	modes := make([]string, len(s.Pairing))
	for i, mode := range s.Pairing {
		modes[i] = quote(mode)
	}
	line("pairing: [%s]", strings.Join(modes, ", "))
	line("")
	line("# sessions, unpaired, unpaired_life, streams, body, observations, dial_time")
	line("limits: {}")
	return []byte(b.String()), nil
}

// quote writes a YAML scalar: plain where it can be mistaken for nothing else,
// otherwise in the JSON form that YAML shares.
func quote(s string) string {
	plain := s != "" && (s[0] >= 'a' && s[0] <= 'z')
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("-._/:", rune(c)) {
			plain = false
		}
	}
	switch s {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain && !strings.HasSuffix(s, ":") {
		return s
	}
	text, _ := json.Marshal(s) // a string always has a JSON form
	return string(text)
}
