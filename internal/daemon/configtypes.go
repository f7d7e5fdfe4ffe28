package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/pairing"
)

// failAt makes an error that decodeStrict turns into a *ConfigError with the
// place of tk.
func failAt(tk *token.Token, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: tk}
}

// scalar returns the text of a plain or quoted value.
func scalar(n ast.Node) (string, error) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", failAt(n.GetToken(), "a text is needed here")
}

// entries returns the pairs of a mapping; an empty value has none.
func entries(n ast.Node) ([]*ast.MappingValueNode, error) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, failAt(n.GetToken(), "a mapping of names to values is needed here")
}

// items returns the values of a list; an empty value has none.
func items(n ast.Node) ([]ast.Node, error) {
	switch s := n.(type) {
	case *ast.SequenceNode:
		return s.Values, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, failAt(n.GetToken(), "a list is needed here")
}

// label is one half of a device id.
type label struct {
	text string
	at   *token.Token
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *label) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	if id := (latchkey.DeviceID{Product: text, Device: text}); !id.Valid() {
		return failAt(n.GetToken(), "%q is not 1 to 63 of a-z, 0-9 and -, not beginning with -", text)
	}
	*l = label{text, n.GetToken()}
	return nil
}

// maxName is the length of a DNS label (RFC 1035 section 2.3.4), which carries
// the name in discovery.
const maxName = 63

// title is a name for people.
type title string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (t *title) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	switch {
	case err != nil:
		return err
	case len(text) > maxName || !utf8.ValidString(text):
		return failAt(n.GetToken(), "a name is at most %d bytes of UTF-8", maxName)
	case strings.ContainsFunc(text, unicode.IsControl):
		return failAt(n.GetToken(), "a name has no control characters")
	}
	*t = title(text)
	return nil
}

type listenAddr struct{ text string }

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *listenAddr) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	if err := checkListen(text); err != nil {
		return failAt(n.GetToken(), "%v", err)
	}
	l.text = text
	return nil
}

// serviceList is a mapping of NAME: TARGET, kept in the order of the names.
type serviceList []device.Service

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *serviceList) UnmarshalYAML(n ast.Node) error {
	pairs, err := entries(n)
	if err != nil {
		return err
	}
	list := serviceList{}
	for _, pair := range pairs {
		target, err := scalar(pair.Value)
		if err != nil {
			return err
		}
		s := device.Service{ID: pair.Key.GetToken().Value, Target: target}
		if err := s.Validate(); err != nil {
			return failAt(pair.Key.GetToken(), "%v", err)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b device.Service) int { return strings.Compare(a.ID, b.ID) })
	*l = list
	return nil
}

// routeList is a list of {path, to}, in the order of the file.
type routeList []device.Route

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *routeList) UnmarshalYAML(n ast.Node) error {
	nodes, err := items(n)
	if err != nil {
		return err
	}
	list := routeList{}
	for _, node := range nodes {
		var r struct {
			Path string `yaml:"path"`
			To   string `yaml:"to"`
		}
		if err := yaml.NodeToValue(node, &r, yaml.Strict()); err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(other device.Route) bool { return other.Path == r.Path }) {
			return failAt(node.GetToken(), "route %q stands there twice", r.Path)
		}
		route := device.Route{Path: r.Path, To: r.To}
		if err := route.Validate(); err != nil {
			return failAt(node.GetToken(), "%v", err)
		}
		list = append(list, route)
	}
	*l = list
	return nil
}

// modeList is a list of pairing modes.
type modeList pairing.Modes

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *modeList) UnmarshalYAML(n ast.Node) error {
	nodes, err := items(n)
	if err != nil {
		return err
	}
	var modes pairing.Modes
	for _, node := range nodes {
		text, err := scalar(node)
		if err != nil {
			return err
		}
		mode, err := pairing.ParseMode(text)
		if err != nil {
			return failAt(node.GetToken(), "%v", err)
		}
		modes |= mode
	}
	*l = modeList(modes)
	return nil
}

// positive is a whole number above zero.
type positive int

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (c *positive) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	v, err := strconv.ParseInt(text, 10, 31)
	if err != nil || v < 1 {
		return failAt(n.GetToken(), "%q is not a whole number from 1 to %d", text, 1<<30)
	}
	*c = positive(v)
	return nil
}

// duration is a time span such as 90s or 2m, above zero.
type duration time.Duration

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return failAt(n.GetToken(), "%q is not a duration such as 90s, 2m or 1h", text)
	}
	*d = duration(v)
	return nil
}

type level slog.Level

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *level) UnmarshalYAML(n ast.Node) error {
	text, err := scalar(n)
	if err != nil {
		return err
	}
	parsed, err := cli.ParseLevel(text)
	if err != nil {
		return failAt(n.GetToken(), "%v", err)
	}
	*l = level(parsed)
	return nil
}
