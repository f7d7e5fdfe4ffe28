package station

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

// A public is an address that peers are told to use.
type public struct {
	host, port string // port "": that of listen
	at         settings.Node
}

// publicList is a list of HOST or HOST:PORT.
type publicList []public

// UnmarshalYAML implements the decoder of package settings.
func (l *publicList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		text, err := settings.Text(node)
		if err != nil {
			return err
		}
		host, port, err := splitPublic(text)
		if err != nil {
			return settings.FailAt(node, "%v", err)
		}
		*l = append(*l, public{host, port, node})
	}
	return nil
}

// maxHost is the length of a host name (RFC 1035 section 2.3.4).
const maxHost = 253

// splitPublic reads HOST, IP, HOST:PORT or [IP]:PORT.
func splitPublic(text string) (host, port string, err error) {
	wrong := fmt.Errorf("%q is not an address that peers could use: an IP address or a host name, with :PORT where it differs from listen", text)
	host = text
	if ip, bad := netip.ParseAddr(text); bad != nil && strings.Contains(text, ":") {
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", "", wrong
		}
		if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
			return "", "", wrong
		}
	} else if bad == nil {
		host = ip.String()
	}
	if ip, bad := netip.ParseAddr(host); bad == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return "", "", wrong
		}
		return host, port, nil
	}
	if !validHost(host) {
		return "", "", wrong
	}
	return host, port, nil
}

// validHost accepts the names of RFC 1123 section 2.1, whose last label is no
// number.
func validHost(host string) bool {
	if len(host) > maxHost {
		return false
	}
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// issuerList is the issuers of JWTs.
type issuerList []basestation.Issuer

// UnmarshalYAML implements the decoder of package settings.
func (l *issuerList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		var v struct {
			Issuer         string            `yaml:"issuer"`
			Audience       string            `yaml:"audience"`
			JWKS           string            `yaml:"jwks"`
			Algorithms     []string          `yaml:"algorithms"`
			DevicesClaim   string            `yaml:"devices_claim"`
			Products       []string          `yaml:"products"`
			RequireBinding *bool             `yaml:"require_binding"`
			AllowPrivate   bool              `yaml:"allow_private"`
			Refresh        settings.Duration `yaml:"refresh"`
			MaxAge         settings.Duration `yaml:"max_age"`
		}
		if err := settings.DecodeNode(node, &v); err != nil {
			return err
		}
		is := basestation.Issuer{
			Issuer: v.Issuer, Audience: v.Audience, JWKS: v.JWKS, Algorithms: v.Algorithms,
			DevicesClaim: v.DevicesClaim, Products: v.Products, RequireBinding: v.RequireBinding,
			AllowPrivate: v.AllowPrivate, Refresh: time.Duration(v.Refresh), MaxAge: time.Duration(v.MaxAge),
		}
		if slices.ContainsFunc(*l, func(other basestation.Issuer) bool { return other.Issuer == is.Issuer }) {
			return settings.FailAt(node, "issuer %q stands there twice", is.Issuer)
		}
		if _, err := bearer.New([]bearer.Issuer{is}, bearer.Options{}); err != nil {
			return settings.FailAt(node, "%s", strings.TrimPrefix(err.Error(), "bearer: "))
		}
		*l = append(*l, is)
	}
	return nil
}

// networkList is a list of CIDR prefixes or addresses.
type networkList []netip.Prefix

// UnmarshalYAML implements the decoder of package settings.
func (l *networkList) UnmarshalYAML(n settings.Node) error {
	nodes, err := settings.Items(n)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		text, err := settings.Text(node)
		if err != nil {
			return err
		}
		p, err := netip.ParsePrefix(text)
		if ip, bad := netip.ParseAddr(text); bad == nil {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil || p != p.Masked() {
			return settings.FailAt(node, "%q is not an address or a network such as 10.0.0.0/8 or fd00::/8", text)
		}
		*l = append(*l, p)
	}
	return nil
}

// size is a number of bytes, such as 4096, 64KiB, 32MiB or 1GiB.
type size int64

// units are what a size can be followed by, in bytes.
var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// UnmarshalYAML implements the decoder of package settings.
func (s *size) UnmarshalYAML(n settings.Node) error {
	text, err := settings.Text(n)
	if err != nil {
		return err
	}
	digits, unit := text, int64(1)
	for _, u := range units {
		if cut, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = strings.TrimSpace(cut), u.bytes
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v < 1 || v > (1<<60)/unit {
		return settings.FailAt(n, "%q is not a number of bytes such as 4096, 32MiB or 64GiB", text)
	}
	*s = size(v * unit)
	return nil
}
