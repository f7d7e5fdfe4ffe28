package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

func TestParseForward(t *testing.T) {
	for _, test := range []struct{ text, local, mistake string }{
		{"ssh", "127.0.0.1:0", ""},
		{"ssh:2222", "127.0.0.1:2222", ""},
		{"22:2222", "127.0.0.1:2222", ""}, // a service may be called 22
		{"ssh:[::1]:22", "[::1]:22", ""},
		{"ssh:-", "-", ""},
		{"ssh:unix:/tmp/x", "unix:/tmp/x", ""},
		{"", "", "is not SERVICE[:LOCAL]"},
		{"ssh:", "", "is not SERVICE[:LOCAL]"},
		{":22", "", "is not SERVICE[:LOCAL]"},
		{"ssh:70000", "", "a port is a number from 0 to 65535"},
		{"ssh:web", "", "a port is a number from 0 to 65535"},
		{"2222:ssh", "", "SERVICE comes first, as in ssh:2222"},
		{"web:/tmp/x.sock", "", "a socket is unix:/tmp/x.sock"},
	} {
		f, err := ParseForward(test.text)
		if test.mistake != "" {
			if err == nil || !strings.Contains(err.Error(), test.mistake) {
				t.Errorf("%q: %v, want %s", test.text, err, test.mistake)
			}
		} else if err != nil || f.Local != test.local {
			t.Errorf("%q: %+v, %v", test.text, f, err)
		}
	}
}

func TestKeeperTellsChangesOfPath(t *testing.T) {
	var told []string
	k := newKeeper(nil, "home", DialOptions{}, func(e ForwardEvent) { told = append(told, e.Kind+" "+e.Path+" "+e.Addr) })
	k.kind = "relay"
	remote := netip.MustParseAddrPort("192.0.2.1:5690")
	for _, kind := range []string{"relay", "direct", "direct", "relay"} {
		k.tell(Path{Kind: kind, Remote: remote, Up: true})
	}
	if want := []string{"path direct 192.0.2.1:5690", "path relay 192.0.2.1:5690"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestReasonsStayApart: what the device said, what its basestation said and what
// each kind of path met are told apart.
func TestReasonsStayApart(t *testing.T) {
	timeout := context.DeadlineExceeded
	for _, test := range []struct {
		err  pathError
		want string
	}{
		{pathError{via: ViaAuto, granted: true, cause: timeout}, "direct: no address of the device can be reached from here; relay: the device does not answer through it"},
		{pathError{via: ViaAuto, cause: timeout}, "direct: no address of the device can be reached from here; relay: the basestation granted none"},
		{pathError{via: ViaRelay, granted: true, relay: errors.New("no route"), cause: timeout}, "relay: no route"},
		{pathError{via: ViaDirect, cause: timeout}, "direct: no address of the device can be reached from here"},
	} {
		if got := test.err.Error(); got != test.want || !errors.Is(&test.err, timeout) {
			t.Errorf("%+v: %q, want %q", test.err, got, test.want)
		}
	}
	away := Try{"by way of its basestation", atBasestation(latchkey.ErrOffline)}
	if err := error(&DialError{"home", []Try{notFound, away}}); !errors.Is(err, latchkey.ErrOffline) {
		t.Errorf("%v does not match ErrOffline", err)
	}
	other := &uplink.KeyError{Addr: "192.0.2.1:5684"}
	var base *BasestationError
	err := error(&DialError{"home", []Try{{"by way of its basestation", atBasestation(other)}}})
	if errors.Is(err, latchkey.ErrIdentityChanged) || !errors.As(err, &base) || !base.OtherKey {
		t.Errorf("another key of the basestation passes for the device's: %v", err)
	}
}

func TestDialErrorSaysWho(t *testing.T) {
	id := latchkey.DeviceID{Product: "acme", Device: "gw-7"}
	if got := (Device{Alias: "home", ID: id}).label() + " " + (Device{ID: id}).label(); got != "home acme/gw-7" {
		t.Errorf("labels %q", got)
	}
	gone := Try{"192.0.2.1:5690", errors.New("no answer")}
	refused := Try{"192.0.2.2:5690", &refusedError{fmt.Errorf("handshake: %w", latchkey.ErrHandshakeRefused)}}
	for _, test := range []struct {
		err  *DialError
		want string
	}{
		{&DialError{"home", nil}, "cannot reach home: no address of it is known, and it was not found on this network"},
		{&DialError{"home", []Try{gone}}, "cannot reach home: 192.0.2.1:5690: no answer"},
		{&DialError{"home", []Try{gone, refused}}, "home: the device does not know this key and is not open for pairing from here"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if err := error(&DialError{"home", []Try{gone, refused}}); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("%v does not match ErrHandshakeRefused", err)
	}
}
