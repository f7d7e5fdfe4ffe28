package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
)

const (
	// dialTimeout bounds Dial when its context does not.
	dialTimeout = 10 * time.Second
	// maxUnixPath is what fits into a socket address on every system.
	maxUnixPath = 103
)

// A Target is where a service leads. The zero Target leads nowhere.
type Target struct {
	network string // tcp, udp or unix
	address string // HOST:PORT or PATH
}

var errTarget = errors.New("tunnel: a target is tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")

// ParseTarget reads the three forms of a target, in the one spelling that
// String writes: HOST is an IP address (IPv6 in brackets) or a host name in
// lower case, PORT a number from 1 to 65535, PATH absolute and as it is.
func ParseTarget(s string) (Target, error) {
	network, address, ok := strings.Cut(s, "://")
	if !ok {
		return Target{}, errTarget
	}
	switch network {
	case "tcp", "udp":
		ok = validHostPort(address)
	case "unix":
		ok = validUnixPath(address)
	default:
		ok = false
	}
	if !ok {
		return Target{}, errTarget
	}
	return Target{network, address}, nil
}

func validHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || net.JoinHostPort(host, port) != s || !validHost(host) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

func validHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.String() == s
	}
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	letter := false
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
		letter = label[0] >= 'a'
	}
	return letter // a last label that begins with a digit is an address to some resolvers
}

func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func validUnixPath(s string) bool {
	return len(s) > 1 && len(s) <= maxUnixPath && s[0] == '/' && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// String returns what ParseTarget read, "" for the zero Target.
func (t Target) String() string {
	if t.network == "" {
		return ""
	}
	return t.network + "://" + t.address
}

// Network returns "tcp", "udp" or "unix".
func (t Target) Network() string { return t.network }

// Dial connects to the target, within 10 s at most. Its errors match
// latchkey.ErrTargetRefused, ErrTargetTimeout or ErrTargetUnreachable and wrap
// the cause, but that of an ended ctx.
func (t Target) Dial(ctx context.Context) (net.Conn, error) {
	if t.network == "" {
		return nil, errTarget
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, t.network, t.address)
	if err == nil {
		return conn, nil
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, err
	}
	return nil, fmt.Errorf("dial %s: %w: %w", t, dialReason(err), err)
}

func dialReason(err error) error {
	var timeout net.Error
	switch {
	case isRefused(err):
		return latchkey.ErrTargetRefused
	case errors.As(err, &timeout) && timeout.Timeout():
		return latchkey.ErrTargetTimeout
	case errors.Is(err, fs.ErrPermission):
		return latchkey.ErrTargetRefused
	}
	return latchkey.ErrTargetUnreachable
}
