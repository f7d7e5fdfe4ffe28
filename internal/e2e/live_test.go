package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

func TestObserve(t *testing.T) {
	var state atomic.Int64
	mux := device.NewMux()
	mux.HandleObservable("GET /count", device.HandlerFunc(func(w device.ResponseWriter, r *device.Request) {
		fmt.Fprint(w, state.Load())
	}))
	td, _, conn := owned(t, &device.Device{Handler: mux})
	next := int64(0)
	for r, err := range conn.Observe(deadline(t), "/count") {
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Body) != fmt.Sprint(next) {
			t.Fatalf("got %s, want %d", r.Body, next)
		}
		if next++; next > 5 {
			break
		}
		state.Store(next)
		td.Notify("/count")
	}
}

// TestRevocationEndsWhatIsOpen removes a user while a tunnel and an
// observation of its are open.
func TestRevocationEndsWhatIsOpen(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	mux := device.NewMux()
	mux.HandleObservable("GET /state", device.HandlerFunc(func(w device.ResponseWriter, r *device.Request) { fmt.Fprint(w, "on") }))
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store, Handler: mux,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}},
	})
	c := admit(t, td, store, "ursula", "user")
	conn := dial(t, c)
	tun, err := conn.Tunnel(deadline(t), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	if _, err := tun.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(tun, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	watching := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for _, err := range conn.Observe(deadline(t), "/state") {
			if err != nil {
				ended <- err
				return
			}
			close(watching)
		}
		ended <- nil
	}()
	<-watching
	if err := store.Update(func(tx *acl.Tx) error { return tx.RemoveUser("ursula") }); err != nil {
		t.Fatal(err)
	}
	_ = tun.SetReadDeadline(time.Now().Add(patience))
	if _, err := tun.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("tunnel of a removed user: %v", err)
	}
	<-ended
	select {
	case <-conn.Context().Done():
	case <-time.After(patience):
		t.Error("the session of a removed user goes on")
	}
	if _, err := c.Dial(deadline(t), "home"); !errors.Is(err, latchkey.ErrHandshakeRefused) {
		t.Errorf("dial after removal: %v", err)
	}
}

// TestForwardSurvivesRestart restarts the device below a running forward.
func TestForwardSurvivesRestart(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	services := []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}}
	td, c, conn := owned(t, &device.Device{Services: services})
	conn.Close()
	ctx, cancel := context.WithCancel(deadline(t))
	addrs := make(chan string, 1)
	reconnecting := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		done <- c.Forward(ctx, "home", []client.Forward{{Service: "echo", Local: "127.0.0.1:0"}}, client.ForwardOptions{
			Event: func(e client.ForwardEvent) {
				switch e.Kind {
				case "listening":
					addrs <- e.Addr
				case "reconnecting":
					reconnecting <- struct{}{}
				}
			},
		})
	}()
	var addr string
	select {
	case addr = <-addrs:
	case err := <-done:
		t.Fatal(err)
	}
	say(t, addr)
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	<-reconnecting
	serve(t, &device.Device{Dir: td.Dir, Addr: td.info.Addrs[0].String(), Services: services})
	say(t, addr) // waits for the new session
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Forward: %v", err)
	}
}

// say sends a line through a forwarded port and expects it back.
func say(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestForwardEndsWithRevocation expects the reason, and no more dialling.
func TestForwardEndsWithRevocation(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}},
	})
	c := admit(t, td, store, "ursula", "user")
	listening := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- c.Forward(deadline(t), "home", []client.Forward{{Service: "echo", Local: "127.0.0.1:0"}}, client.ForwardOptions{
			Event: func(e client.ForwardEvent) {
				if e.Kind == "listening" {
					listening <- e.Addr
				}
			},
		})
	}()
	say(t, <-listening)
	if err := store.Update(func(tx *acl.Tx) error { return tx.RemoveUser("ursula") }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("Forward ended with %v", err)
	}
}

func TestOccupiedLocalPort(t *testing.T) {
	_, c, _ := owned(t, &device.Device{Services: []device.Service{{ID: "x", Target: "tcp://127.0.0.1:1"}}})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = c.Forward(deadline(t), "home", []client.Forward{{Service: "x", Local: taken.Addr().String()}}, client.ForwardOptions{})
	var op *net.OpError
	if !errors.As(err, &op) {
		t.Errorf("got %v", err)
	}
}

// TestLocalPairingThroughAForward sends the datagrams of a pairing through a
// UDP forwarder on the same machine. It looks like a loopback peer, but its
// hop limit gives it away.
func TestLocalPairingThroughAForward(t *testing.T) {
	td := serve(t, &device.Device{Pairing: pairing.LocalInitial})
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(td.info.Addrs[0]))
	if err != nil {
		t.Fatal(err)
	}
	var peer atomic.Pointer[net.UDPAddr]
	pump := func(read func([]byte) (int, error), write func([]byte)) chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 65536)
			for {
				n, err := read(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					write(buf[:n])
				}
			}
		}()
		return done
	}
	in := pump(func(b []byte) (int, error) {
		n, from, err := front.ReadFromUDP(b)
		peer.Store(from)
		return n, err
	}, func(b []byte) { _, _ = back.Write(b) })
	out := pump(back.Read, func(b []byte) { _, _ = front.WriteToUDP(b, peer.Load()) })
	t.Cleanup(func() {
		front.Close()
		back.Close()
		<-in
		<-out
	})
	u := *td.info.PairingURL
	u.Addrs = []string{front.LocalAddr().String()}
	_, err = newClient(t).Pair(deadline(t), &u, client.PairOptions{Alias: "home"})
	if !errors.Is(err, latchkey.ErrHandshakeRefused) { // nothing is open to strangers from elsewhere
		t.Errorf("pairing through a forwarder: %v", err)
	}
	if !td.PairingModes().Has(pairing.LocalInitial) {
		t.Error("a refused pairing closed the mode")
	}
}

// TestNarrowedRoleEndsForward: the session may go on, the tunnel may not, and
// the reason reaches whoever runs the forward.
func TestNarrowedRoleEndsForward(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	store := newStore(t)
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}},
	})
	c := admit(t, td, store, "ursula", "user")
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan error, 1)
	go func() {
		done <- c.Forward(deadline(t), "home", []client.Forward{{Service: "echo", Local: "-"}}, client.ForwardOptions{Stdio: far})
	}()
	if _, err := io.WriteString(near, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := store.Update(func(tx *acl.Tx) error { return tx.SetRole("ursula", "guest") }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("Forward ended with %v", err)
	}
}

// TestChangeWhileDialling narrows the role between the door's yes and the
// target's answer.
func TestChangeWhileDialling(t *testing.T) {
	target := echo(t, "tcp", "127.0.0.1:0")
	store := newStore(t)
	asked, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	td := serve(t, &device.Device{
		Identity: newIdentity(t), Access: store,
		Authorize: func(ctx context.Context, r *acl.Request) error {
			err := store.Authorize(ctx, r)
			if r.Action == acl.TunnelOpen {
				once.Do(func() { // the change comes after the policies have said yes
					close(asked)
					<-goOn
				})
			}
			return err
		},
		Services: []device.Service{{ID: "echo", Target: "tcp://" + target.Addr().String()}},
	})
	conn := dial(t, admit(t, td, store, "ursula", "user"))
	opened := make(chan net.Conn, 1)
	go func() {
		tun, _ := conn.Tunnel(deadline(t), "echo")
		opened <- tun
	}()
	<-asked
	if err := store.Update(func(tx *acl.Tx) error { return tx.SetRole("ursula", "guest") }); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	tun := <-opened
	if tun == nil {
		return // refused outright is as good
	}
	defer tun.Close()
	_ = tun.SetDeadline(time.Now().Add(patience))
	if _, err := tun.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the tunnel of somebody who became a guest meanwhile: %v", err)
	}
}

// TestNotifyWhileSessionsEnd: whoever calls Notify does not know which
// sessions are ending.
func TestNotifyWhileSessionsEnd(t *testing.T) {
	mux := device.NewMux()
	mux.HandleObservable("GET /state", device.HandlerFunc(func(w device.ResponseWriter, r *device.Request) { fmt.Fprint(w, "on") }))
	td, c, _ := owned(t, &device.Device{Handler: mux})
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					td.Notify("/state")
				}
			}
		})
	}
	for range 40 {
		conn, err := c.Dial(deadline(t), "home")
		if err != nil {
			t.Fatal(err)
		}
		for range conn.Observe(deadline(t), "/state") {
			break
		}
		conn.Close()
	}
	close(stop)
	work.Wait()
}

// TestShutdownSaysWhy: a client learns that the device stops, and nothing
// worse.
func TestShutdownSaysWhy(t *testing.T) {
	td, _, conn := owned(t, &device.Device{})
	if _, err := conn.Get(deadline(t), "/device/info"); err != nil { // the device has the session, too
		t.Fatal(err)
	}
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-conn.Context().Done():
	case <-time.After(patience):
		t.Fatal("the session goes on")
	}
	if err := context.Cause(conn.Context()); !errors.Is(err, latchkey.ErrShutdown) {
		t.Errorf("the session ended with %v", err)
	}
}

// TestGivenUpRelays: an observation of a route whose upstream never answers
// costs nothing once it is cancelled.
func TestGivenUpRelays(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, _, conn := owned(t, &device.Device{Routes: []device.Route{{Path: "/up/**", To: "coap://" + silent.LocalAddr().String()}}})
	var work sync.WaitGroup
	for range 12 { // with the GETs that end them, more than there are workers
		work.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			for range conn.Observe(ctx, "/up/x") {
			}
		})
	}
	work.Wait()
	if _, err := conn.Get(deadline(t), "/device/info"); err != nil {
		t.Error(err)
	}
}

// TestStaleAddressIsNoImpostor: one address of a device that is off now
// belongs to somebody else.
func TestStaleAddressIsNoImpostor(t *testing.T) {
	td, c, conn := owned(t, &device.Device{})
	conn.Close()
	other := serve(t, &device.Device{Pairing: pairing.LocalInitial})
	known, err := c.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	err = known.Update("home", func(d *client.Device) { d.Addrs = append(other.info.PairingURL.Addrs, d.Addrs...) })
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Dial(deadline(t), "home")
	if err != nil {
		t.Fatalf("the right device is there too: %v", err)
	}
	again.Close()
	if err := td.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Dial(deadline(t), "home"); err == nil || errors.Is(err, latchkey.ErrIdentityChanged) {
		t.Errorf("the device is off: %v", err)
	}
}
