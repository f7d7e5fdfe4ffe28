package daemon

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/pairing"
)

// ConfigFile is the name of the configuration in the daemon's directory.
const ConfigFile = "latchkeyd.yaml"

// A Config is a configuration that passed every check.
type Config struct {
	ID        latchkey.DeviceID // zero: the default for the key
	Name      string
	Listen    string
	Discovery bool

	Basestation Basestation
	Services    []device.Service
	Routes      []device.Route
	Pairing     pairing.Modes
	Tokens      []device.TokenIssuer
	Authorize   Authorize
	Limits      device.Limits
	Level       slog.Level
}

// file is latchkeyd.yaml as it is written. Fields that need more than a type
// check decode themselves, so that their errors carry a place.
type file struct {
	Product   label           `yaml:"product"`
	Device    label           `yaml:"device"`
	Name      title           `yaml:"name"`
	Listen    settings.Listen `yaml:"listen"`
	Discovery *bool           `yaml:"discovery"`

	Basestation basestation    `yaml:"basestation"`
	Services    serviceList    `yaml:"services"`
	Routes      routeList      `yaml:"routes"`
	Pairing     modeList       `yaml:"pairing"`
	Tokens      issuerList     `yaml:"tokens"`
	Authorize   authorize      `yaml:"authorize"`
	Limits      limits         `yaml:"limits"`
	LogLevel    settings.Level `yaml:"log_level"`
}

// limits mirrors device.Limits; an absent field keeps the default.
type limits struct {
	Sessions     settings.Positive `yaml:"sessions"`
	Unpaired     settings.Positive `yaml:"unpaired"`
	UnpairedLife settings.Duration `yaml:"unpaired_life"`
	Streams      settings.Positive `yaml:"streams"`
	Body         settings.Positive `yaml:"body"`
	Observations settings.Positive `yaml:"observations"`
	DialTime     settings.Duration `yaml:"dial_time"`
}

// LoadConfig reads and checks the configuration in dir. What is wrong in the
// file is a *settings.Error, which says where.
func LoadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, ConfigFile)
	text, err := settings.Read(path)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, text)
}

// ParseConfig checks text; path is for errors.
func ParseConfig(path string, text []byte) (*Config, error) {
	var f file
	if err := settings.Decode(path, text, &f); err != nil {
		return nil, err
	}
	if (f.Product.text == "") != (f.Device.text == "") {
		set := f.Product
		if set.text == "" {
			set = f.Device
		}
		return nil, settings.ErrorAt(path, text, set.at, "product and device go together: set both or none")
	}
	base, err := f.Basestation.read(path, text)
	if err != nil {
		return nil, err
	}
	hook, err := f.Authorize.read(path, text)
	if err != nil {
		return nil, err
	}
	c := &Config{
		Name:      string(f.Name),
		Listen:    string(f.Listen),
		Discovery: f.Discovery == nil || *f.Discovery,

		Basestation: base,
		Services:    f.Services,
		Routes:      f.Routes,
		Pairing:     pairing.Modes(f.Pairing),
		Tokens:      f.Tokens,
		Authorize:   hook,
		Level:       slog.Level(f.LogLevel),
		Limits: device.Limits{
			Sessions: int(f.Limits.Sessions), Unpaired: int(f.Limits.Unpaired),
			UnpairedLife: time.Duration(f.Limits.UnpairedLife), Streams: int(f.Limits.Streams),
			Body: int(f.Limits.Body), Observations: int(f.Limits.Observations),
			DialTime: time.Duration(f.Limits.DialTime),
		},
	}
	if f.Product.text != "" {
		c.ID = latchkey.DeviceID{Product: f.Product.text, Device: f.Device.text}
	}
	if c.Listen == "" {
		c.Listen = device.DefaultAddr
	}
	return c, nil
}
