package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// ConfigFile is the name of the configuration in the daemon's directory.
const ConfigFile = "latchkeyd.yaml"

// maxConfig bounds the configuration file in bytes.
const maxConfig = 1 << 20

// A Config is a configuration that passed every check.
type Config struct {
	ID        latchkey.DeviceID // zero: the default for the key
	Name      string
	Listen    string
	Discovery bool
	Services  []device.Service
	Routes    []device.Route
	Pairing   pairing.Modes
	Limits    device.Limits
	Level     slog.Level
}

// file is latchkeyd.yaml as it is written. Fields that need more than a type
// check decode themselves, so that their errors carry a place.
type file struct {
	Product   label       `yaml:"product"`
	Device    label       `yaml:"device"`
	Name      title       `yaml:"name"`
	Listen    listenAddr  `yaml:"listen"`
	Discovery *bool       `yaml:"discovery"`
	Services  serviceList `yaml:"services"`
	Routes    routeList   `yaml:"routes"`
	Pairing   modeList    `yaml:"pairing"`
	Limits    limits      `yaml:"limits"`
	LogLevel  level       `yaml:"log_level"`
}

// limits mirrors device.Limits; an absent field keeps the default.
type limits struct {
	Sessions     positive `yaml:"sessions"`
	Unpaired     positive `yaml:"unpaired"`
	UnpairedLife duration `yaml:"unpaired_life"`
	Streams      positive `yaml:"streams"`
	Body         positive `yaml:"body"`
	Observations positive `yaml:"observations"`
	DialTime     duration `yaml:"dial_time"`
}

// LoadConfig reads and checks the configuration in dir. What is wrong in the
// file is a *ConfigError, which says where.
func LoadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, ConfigFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	return ParseConfig(path, text)
}

// ParseConfig checks text; path is for errors.
func ParseConfig(path string, text []byte) (*Config, error) {
	var f file
	if err := decodeStrict(path, text, &f); err != nil {
		return nil, err
	}
	if (f.Product.text == "") != (f.Device.text == "") {
		set := f.Product
		if set.text == "" {
			set = f.Device
		}
		return nil, errorAt(path, text, set.at, "product and device go together: set both or none")
	}
	c := &Config{
		Name:      string(f.Name),
		Listen:    f.Listen.text,
		Discovery: f.Discovery == nil || *f.Discovery,
		Services:  f.Services,
		Routes:    f.Routes,
		Pairing:   pairing.Modes(f.Pairing),
		Level:     slog.Level(f.LogLevel),
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

// checkListen accepts HOST:PORT and :PORT; port 0 lets the system choose.
func checkListen(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("udp", port)
	}
	if err != nil {
		return fmt.Errorf("%q is not [HOST]:PORT", addr)
	}
	return nil
}
