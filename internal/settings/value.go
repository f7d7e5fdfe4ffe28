package settings

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey/internal/cli"
)

// Listen is an address to listen on, [HOST]:PORT; port 0 lets the system choose.
type Listen string

// UnmarshalYAML implements the decoder of this package.
func (l *Listen) UnmarshalYAML(n Node) error {
	text, err := Text(n)
	if err != nil {
		return err
	}
	if err := checkListen(text); err != nil {
		return FailAt(n, "%v", err)
	}
	*l = Listen(text)
	return nil
}

// Positive is a whole number above zero.
type Positive int

// UnmarshalYAML implements the decoder of this package.
func (c *Positive) UnmarshalYAML(n Node) error {
	text, err := Text(n)
	if err != nil {
		return err
	}
	v, err := strconv.ParseInt(text, 10, 31)
	if err != nil || v < 1 {
		return FailAt(n, "%q is not a whole number from 1 to %d", text, 1<<30)
	}
	*c = Positive(v)
	return nil
}

// Duration is a time span such as 90s or 2m, above zero.
type Duration time.Duration

// UnmarshalYAML implements the decoder of this package.
func (d *Duration) UnmarshalYAML(n Node) error {
	text, err := Text(n)
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return FailAt(n, "%q is not a duration such as 90s, 2m or 1h", text)
	}
	*d = Duration(v)
	return nil
}

// Level is a log level: debug, info, warn or error.
type Level slog.Level

// UnmarshalYAML implements the decoder of this package.
func (l *Level) UnmarshalYAML(n Node) error {
	text, err := Text(n)
	if err != nil {
		return err
	}
	parsed, err := cli.ParseLevel(text)
	if err != nil {
		return FailAt(n, "%v", err)
	}
	*l = Level(parsed)
	return nil
}

// checkListen accepts HOST:PORT and :PORT.
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

// Quote writes a YAML scalar: plain where it can be mistaken for nothing else,
// otherwise in the JSON form that YAML shares.
func Quote(s string) string {
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
