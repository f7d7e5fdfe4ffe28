package station

import (
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// ConfigFile is the name of the configuration in the basestation's directory.
const ConfigFile = "basestation.yaml"

// A Config is a configuration that passed every check.
type Config struct {
	Listen      string
	PublicAddrs []string // HOST:PORT
	Issuers     []basestation.Issuer
	MetricsFrom []netip.Prefix
	Limits      basestation.Limits
	Level       slog.Level
}

// file is basestation.yaml as it is written. Fields that need more than a type
// check decode themselves, so that their errors carry a place.
type file struct {
	Listen      settings.Listen `yaml:"listen"`
	PublicAddrs publicList      `yaml:"public_addresses"`
	Issuers     issuerList      `yaml:"issuers"`
	MetricsFrom networkList     `yaml:"metrics_from"`
	Limits      limits          `yaml:"limits"`
	LogLevel    settings.Level  `yaml:"log_level"`
}

// limits mirrors basestation.Limits; an absent field keeps the default.
type limits struct {
	Sessions         settings.Positive `yaml:"sessions"`
	Streams          settings.Positive `yaml:"streams"`
	PerSource        settings.Positive `yaml:"per_source"`
	StreamsPerSource settings.Positive `yaml:"streams_per_source"`
	Handshakes       settings.Positive `yaml:"handshakes"`
	PerPrefix        settings.Positive `yaml:"handshakes_per_source"`
	Introductions    settings.Positive `yaml:"introductions"`
	PerClient        settings.Positive `yaml:"introductions_per_client"`
	PerDevice        settings.Positive `yaml:"introductions_per_device"`
	WaitMax          settings.Duration `yaml:"wait"`
	Drain            settings.Duration `yaml:"drain"`
	Relay            relayLimits       `yaml:"relay"`
}

// relayLimits mirrors basestation.RelayLimits.
type relayLimits struct {
	FirstUse  settings.Duration `yaml:"first_use"`
	Duration  settings.Duration `yaml:"duration"`
	Bytes     size              `yaml:"bytes"`
	Rate      size              `yaml:"rate"`
	Grants    settings.Positive `yaml:"sessions"`
	PerClient settings.Positive `yaml:"sessions_per_client"`
	PerDevice settings.Positive `yaml:"sessions_per_device"`
}

func (l limits) limits() basestation.Limits {
	return basestation.Limits{
		Sessions: int(l.Sessions), Streams: int(l.Streams), PerSource: int(l.PerSource),
		StreamsPerSource: int(l.StreamsPerSource), Handshakes: int(l.Handshakes), PerPrefix: int(l.PerPrefix),
		Introductions: int(l.Introductions), PerClient: int(l.PerClient), PerDevice: int(l.PerDevice),
		WaitMax: time.Duration(l.WaitMax), Drain: time.Duration(l.Drain),
		Relay: basestation.RelayLimits{
			FirstUse: time.Duration(l.Relay.FirstUse), Duration: time.Duration(l.Relay.Duration),
			Bytes: int64(l.Relay.Bytes), Rate: int64(l.Relay.Rate),
			Grants: int(l.Relay.Grants), PerClient: int(l.Relay.PerClient), PerDevice: int(l.Relay.PerDevice),
		},
	}
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
	c := &Config{
		Listen: string(f.Listen), Issuers: f.Issuers, MetricsFrom: f.MetricsFrom,
		Limits: f.Limits.limits(), Level: slog.Level(f.LogLevel),
	}
	if c.Listen == "" {
		c.Listen = basestation.DefaultAddr
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, err // cannot be: settings.Listen has checked it
	}
	for i, p := range f.PublicAddrs {
		switch {
		case i == signal.MaxServers:
			return nil, settings.ErrorAt(path, text, p.at, "there are more than the 8 public addresses that peers take")
		case p.port == "" && port == "0":
			return nil, settings.ErrorAt(path, text, p.at, "a public address needs its port when listen leaves it to the system")
		case p.port == "":
			p.port = port
		}
		c.PublicAddrs = append(c.PublicAddrs, net.JoinHostPort(p.host, p.port))
	}
	return c, nil
}
