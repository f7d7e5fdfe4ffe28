package daemon

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/settings"
	"github.com/latchkey-dev/latchkey/pairing"
)

// label is one half of a device id.
type label struct {
	text string
	at   settings.Node
}

// UnmarshalYAML implements the decoder of package settings.
func (l *label) UnmarshalYAML(n settings.Node) error {
	text, err := settings.Text(n)
	if err != nil {
		return err
	}
	if id := (latchkey.DeviceID{Product: text, Device: text}); !id.Valid() {
		return settings.FailAt(n, "%q is not 1 to 63 of a-z, 0-9 and -, not beginning with -", text)
	}
	*l = label{text, n}
	return nil
}

// maxName is the length of a DNS label (RFC 1035 section 2.3.4), which carries
// the name in discovery.
const maxName = 63

// title is a name for people.
type title string

// UnmarshalYAML implements the decoder of package settings.
func (t *title) UnmarshalYAML(n settings.Node) error {
	text, err := settings.Text(n)
	switch {
	case err != nil:
		return err
	case len(text) > maxName || !utf8.ValidString(text):
		return settings.FailAt(n, "a name is at most %d bytes of UTF-8", maxName)
	case strings.ContainsFunc(text, unicode.IsControl):
		return settings.FailAt(n, "a name has no control characters")
	}
	*t = title(text)
	return nil
}

// serviceList is a mapping of NAME: TARGET, kept in the order of the names.
type serviceList []device.Service

// UnmarshalYAML implements the decoder of package settings.
func (l *serviceList) UnmarshalYAML(n settings.Node) error {
	pairs, err := settings.Entries(n)
	if err != nil {
		return err
	}
	list := serviceList{}
	for _, pair := range pairs {
		target, err := settings.Text(pair.Value)
		if err != nil {
			return err
		}
		s := device.Service{ID: pair.Key.GetToken().Value, Target: target}
		if err := s.Validate(); err != nil {
			return settings.FailAt(pair.Key, "%v", err)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b device.Service) int { return strings.Compare(a.ID, b.ID) })
	*l = list
	return nil
}

// routeList is a list of {path, to}, in the order of the file.
type routeList []device.Route

// UnmarshalYAML implements the decoder of package settings.
func (l *routeList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	list := routeList{}
	for _, node := range nodes {
		var r struct {
			Path string `yaml:"path"`
			To   string `yaml:"to"`
		}
		if err := settings.DecodeNode(node, &r); err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(other device.Route) bool { return other.Path == r.Path }) {
			return settings.FailAt(node, "route %q stands there twice", r.Path)
		}
		route := device.Route{Path: r.Path, To: r.To}
		if err := route.Validate(); err != nil {
			return settings.FailAt(node, "%v", err)
		}
		list = append(list, route)
	}
	*l = list
	return nil
}

// modeList is a list of pairing modes.
type modeList pairing.Modes

// UnmarshalYAML implements the decoder of package settings.
func (l *modeList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	var modes pairing.Modes
	for _, node := range nodes {
		text, err := settings.Text(node)
		if err != nil {
			return err
		}
		mode, err := pairing.ParseMode(text)
		if err != nil {
			return settings.FailAt(node, "%v", err)
		}
		modes |= mode
	}
	*l = modeList(modes)
	return nil
}
