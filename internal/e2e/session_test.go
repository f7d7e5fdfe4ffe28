package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

func TestPairAndGet(t *testing.T) {
	td, c, conn := owned(t, &device.Device{Name: "Kitchen"})
	r, err := conn.Get(deadline(t), "/device/info")
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Name        string
		Fingerprint latchkey.Fingerprint
	}
	if err := json.Unmarshal(r.Body, &info); err != nil || info.Name != "Kitchen" || info.Fingerprint != td.info.Fingerprint {
		t.Errorf("info %s: %v", r.Body, err)
	}
	if _, err := conn.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
	again, err := c.Pair(deadline(t), td.info.PairingURL, client.PairOptions{Alias: "home", User: "somebody"})
	if err != nil || !again.Already || again.User != "owner" || again.Role != "admin" {
		t.Errorf("pairing again: %+v, %v", again, err)
	}
	if td.PairingModes() != 0 {
		t.Error("local-initial is still open after its one success")
	}
}

func TestStrangerIsRefusedInTheHandshake(t *testing.T) {
	td, _, _ := owned(t, &device.Device{})
	_, err := newClient(t).Pair(deadline(t), td.info.PairingURL, client.PairOptions{Alias: "home"})
	if !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("got %v, want a refusal in the handshake", err)
	}
}

func TestUnpairedMayOnlyPair(t *testing.T) {
	td := serve(t, &device.Device{Pairing: pairing.LocalInitial, Services: []device.Service{{ID: "ssh", Target: "tcp://127.0.0.1:1"}}})
	c := newClient(t)
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if err := known.Add(client.Device{Alias: "home", ID: td.info.ID, Key: td.info.Fingerprint, Addrs: td.info.PairingURL.Addrs}); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, c)
	for _, path := range []string{"/device/info", "/services", "/me", "/.well-known/core", "/nothing", "/"} {
		if _, err := conn.Get(deadline(t), path); !errors.Is(err, latchkey.ErrUnpaired) {
			t.Errorf("GET %s: %v, want %v", path, err, latchkey.ErrUnpaired)
		}
	}
	for _, service := range []string{"ssh", "nothing"} {
		if _, err := conn.Tunnel(deadline(t), service); !errors.Is(err, latchkey.ErrUnpaired) {
			t.Errorf("tunnel %s: %v, want %v", service, err, latchkey.ErrUnpaired)
		}
	}
}

func TestTunnelTCPAndUnix(t *testing.T) {
	tcp := echo(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "echo.sock")
	echo(t, "unix", path)
	_, _, conn := owned(t, &device.Device{Services: []device.Service{
		{ID: "tcp", Target: "tcp://" + tcp.Addr().String()}, {ID: "unix", Target: "unix://" + path},
	}})
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	for _, service := range []string{"tcp", "unix"} {
		tun, err := conn.Tunnel(deadline(t), service)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = tun.Write(data)
			_ = tun.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(tun)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes back of %d: %v", service, len(got), len(data), err)
		}
		tun.Close()
	}
}

func TestTunnelUDP(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append([]byte("re:"), buf[:n]...), from)
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	_, _, conn := owned(t, &device.Device{Services: []device.Service{{ID: "dns", Target: "udp://" + pc.LocalAddr().String()}}})
	flow, err := conn.TunnelUDP(deadline(t), "dns")
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	buf := make([]byte, 2000)
	for i := range 10 {
		ask := fmt.Sprintf("question %d", i)
		if _, err := flow.Write([]byte(ask)); err != nil {
			t.Fatal(err)
		}
		n, err := flow.Read(buf)
		if err != nil || string(buf[:n]) != "re:"+ask {
			t.Fatalf("got %q, %v", buf[:n], err)
		}
	}
	if _, err := conn.Tunnel(deadline(t), "dns"); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("stream to a udp service: %v", err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close() // nobody listens there now
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Services: []device.Service{{ID: "dead", Target: "tcp://" + dead.Addr().String()}, {ID: "gone", Target: "unix:///nonexistent/x"}},
	})
	user := dial(t, admit(t, td, store, "ursula", "user"))
	guest := dial(t, admit(t, td, store, "gustav", "guest"))
	for _, c := range []struct {
		conn    *client.Conn
		service string
		want    error
	}{
		{user, "dead", latchkey.ErrTargetRefused},
		{user, "gone", latchkey.ErrTargetUnreachable},
		{user, "nothing", latchkey.ErrNotFound},
		{guest, "dead", latchkey.ErrForbidden},
		{guest, "nothing", latchkey.ErrForbidden}, // does not learn that it is not there
	} {
		if _, err := c.conn.Tunnel(deadline(t), c.service); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.service, err, c.want)
		}
	}
	for _, c := range []struct {
		conn *client.Conn
		path string
		want error
	}{
		{user, "/nothing", latchkey.ErrNotFound},
		{guest, "/nothing", latchkey.ErrForbidden},
		{guest, "/device/info", nil},
		{guest, "/services", nil},
		{guest, "/me", nil},
	} {
		if _, err := c.conn.Get(deadline(t), c.path); !errors.Is(err, c.want) {
			t.Errorf("GET %s: %v, want %v", c.path, err, c.want)
		}
	}
	services, err := guest.Services(deadline(t))
	if err != nil || len(services) != 2 || services[0] != (client.Service{ID: "dead", Type: "tcp", Open: false}) {
		t.Errorf("services of a guest: %v, %v", services, err)
	}
	services, err = user.Services(deadline(t))
	if err != nil || len(services) != 2 || services[0] != (client.Service{ID: "dead", Type: "tcp", Open: true}) {
		t.Errorf("services of a user: %v, %v", services, err)
	}
}

// A forward whose services may all not be opened ends at once; one of several
// is told and the others go on.
func TestForwardKnowsWhatMayBeOpened(t *testing.T) {
	store := newStore(t)
	target := echo(t, "tcp", "127.0.0.1:0")
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Authorize: func(ctx context.Context, r *acl.Request) error {
			if r.Action == acl.TunnelOpen && r.Resource != "one" {
				return latchkey.ErrForbidden
			}
			return store.Authorize(ctx, r)
		},
		Services: []device.Service{
			{ID: "one", Target: "tcp://" + target.Addr().String()},
			{ID: "two", Target: "tcp://" + target.Addr().String()},
		},
	})
	c := admit(t, td, store, "ursula", "user")
	forward := func(ids ...string) (events []string, err error) {
		ctx, cancel := context.WithCancel(deadline(t))
		defer cancel()
		var list []client.Forward
		for _, id := range ids {
			list = append(list, client.Forward{Service: id, Local: "127.0.0.1:0"})
		}
		err = c.Forward(ctx, "home", list, client.ForwardOptions{Event: func(e client.ForwardEvent) {
			if e.Service == "" {
				return
			}
			if events = append(events, e.Kind+" "+e.Service); len(events) == len(ids)+1 {
				cancel() // all listen, and the refusal was told
			}
		}})
		return events, err
	}
	if events, err := forward("two"); !errors.Is(err, latchkey.ErrForbidden) || len(events) > 0 {
		t.Errorf("nothing may be opened: %v, %v", events, err)
	}
	want := []string{"refused two", "listening one", "listening two"}
	if events, err := forward("one", "two"); err != nil || !slices.Equal(events, want) {
		t.Errorf("one of two may be opened: %v, %v; want %v", events, err, want)
	}
}

func TestChangedKeyIsLoud(t *testing.T) {
	td, c, conn := owned(t, &device.Device{})
	conn.Close()
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	impostor := serve(t, &device.Device{Addr: td.info.Addrs[0].String(), Pairing: pairing.LocalInitial})
	_, err := c.Dial(deadline(t), "home")
	var changed *latchkey.IdentityError
	if !errors.As(err, &changed) || changed.Got != impostor.info.Fingerprint || changed.Want[0] != td.info.Fingerprint {
		t.Fatalf("got %v, want both keys named", err)
	}
	if !errors.Is(err, latchkey.ErrIdentityChanged) {
		t.Errorf("%v does not match ErrIdentityChanged", err)
	}
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	if dev, err := known.Lookup("home"); err != nil || dev.Key != td.info.Fingerprint {
		t.Errorf("the file was changed: %v, %v", dev.Key, err)
	}
}

// TestAddedKeyOnlyRecords is the README's way to let a second person in: the
// owner adds the key, and pairing then records the device.
func TestAddedKeyOnlyRecords(t *testing.T) {
	store := newStore(t)
	td := serve(t, &device.Device{Identity: newIdentity(t), Access: store})
	for _, role := range []string{"guest", "user", "admin"} {
		c := admit(t, td, store, role+"1", role)
		got, err := c.Pair(deadline(t), td.info.PairingURL, client.PairOptions{Alias: "again"})
		if err != nil || !got.Already || got.User != role+"1" || got.Role != role {
			t.Errorf("%s: %+v, %v", role, got, err)
		}
	}
}

// TestPairByAddress has no pairing URL, only where the device is.
func TestPairByAddress(t *testing.T) {
	td := serve(t, &device.Device{Pairing: pairing.LocalInitial, ID: latchkey.DeviceID{Product: "acme", Device: "gw1"}})
	u := &latchkey.PairingURL{Addrs: td.info.PairingURL.Addrs}
	c := newClient(t)
	if _, err := c.Pair(deadline(t), u, client.PairOptions{}); !errors.Is(err, latchkey.ErrUnknownDevice) {
		t.Errorf("nobody accepted the key: %v", err)
	}
	refusal := errors.New("not this one")
	no := client.PairOptions{AcceptKey: func(latchkey.Fingerprint) error { return refusal }}
	if _, err := c.Pair(deadline(t), u, no); !errors.Is(err, refusal) {
		t.Errorf("the key was refused: %v", err)
	}
	yes := client.PairOptions{User: "owner", AcceptKey: func(f latchkey.Fingerprint) error {
		if f != td.info.Fingerprint {
			t.Errorf("asked about %s", f)
		}
		return nil
	}}
	got, err := c.Pair(deadline(t), u, yes)
	if err != nil || got.Device.String() != "acme/gw1" || got.Role != "admin" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRefusalEndsTheSearch: the device itself has refused our key, so there is
// nothing to search for elsewhere.
func TestRefusalEndsTheSearch(t *testing.T) {
	store := newStore(t)
	td := serve(t, &device.Device{Identity: newIdentity(t), Access: store})
	c := admit(t, td, store, "ursula", "user")
	if err := store.Update(func(tx *acl.Tx) error { return tx.RemoveUser("ursula") }); err != nil {
		t.Fatal(err)
	}
	c.NoDiscovery = false
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	err = known.Update("home", func(d *client.Device) { d.Addrs = append(d.Addrs, dead.LocalAddr().String()) })
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Dial(deadline(t), "home")
	var failed *client.DialError
	if !errors.As(err, &failed) || len(failed.Tries) != 1 || !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("got %v", err)
	}
}
