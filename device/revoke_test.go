package device_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// user makes the bed's client a user there.
func (b *bed) user(name, role string) {
	b.t.Helper()
	id, err := b.client.OpenIdentity()
	if err != nil {
		b.t.Fatal(err)
	}
	err = b.access.Update(func(tx *acl.Tx) error {
		return errors.Join(
			tx.AddUser(acl.User{Name: name, Role: role, Added: time.Now()}),
			tx.AddKey(acl.Key{Fingerprint: id.Fingerprint(), User: name, Added: time.Now(), Origin: "manual"}),
		)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func policy(t *testing.T, text string) *acl.Policy {
	t.Helper()
	p, err := acl.ParsePolicy("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNarrowedWhileObserved takes one permission: the observation ends, with the
// reason, and nothing of the state goes out any more.
func TestNarrowedWhileObserved(t *testing.T) {
	var state atomic.Value
	state.Store("before")
	mux := device.NewMux()
	mux.HandleObservable("GET /state", device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) {
		_, _ = io.WriteString(w, state.Load().(string))
	}))
	b := newBed(t, func(d *device.Device) { d.Handler = mux })
	b.user("ada", acl.RoleUser)
	conn := b.dial()
	watching, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		first := true
		for r, err := range conn.Observe(b.ctx(), "/state") {
			switch {
			case err != nil:
				ended <- err
				return
			case string(r.Body) != "before":
				t.Errorf("notified of %s", r.Body)
			case first:
				first = false
				close(watching)
			}
		}
		ended <- nil
	}()
	<-watching
	deny := policy(t, `{"name":"no-watching","statements":[{"effect":"deny","actions":["coap:observe"],"resources":["**"]}]}`)
	err := b.access.Update(func(tx *acl.Tx) error {
		u, _ := tx.User("ada")
		u.Policies = []string{"no-watching"}
		return errors.Join(tx.PutPolicy(deny), tx.SetUser(u))
	})
	if err != nil {
		t.Fatal(err)
	}
	state.Store("after")
	b.Notify("/state")
	if err := <-ended; !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the observation ended with %v", err)
	}
	if _, err := conn.Get(b.ctx(), "/state"); err != nil {
		t.Errorf("what is still allowed: %v", err)
	}
}

// TestReviewWaitsForNobody: a hook that hangs over one thing delays neither the
// others nor the next change.
func TestReviewWaitsForNobody(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { _ = target.Close(); work.Wait() })
	var refused atomic.Value
	refused.Store("")
	hanging := make(chan struct{}, 16)
	release := make(chan struct{})
	b := newBed(t, func(d *device.Device) {
		for _, id := range []string{"hangs", "first", "second"} {
			d.Services = append(d.Services, device.Service{ID: id, Target: "tcp://" + target.Addr().String()})
		}
		d.Authorize = func(ctx context.Context, r *acl.Request) error {
			list := refused.Load().(string)
			if r.Resource == "hangs" && list != "" {
				hanging <- struct{}{}
				<-release
			}
			if strings.Contains(list, r.Resource) && r.Resource != "" {
				return latchkey.ErrForbidden
			}
			return nil
		}
	})
	defer close(release)
	conn := b.dial()
	tunnels := make(map[string]net.Conn)
	for _, id := range []string{"hangs", "first", "second"} {
		if tunnels[id], err = conn.Tunnel(b.ctx(), id); err != nil {
			t.Fatal(err)
		}
		defer tunnels[id].Close()
	}
	for _, id := range []string{"first", "second"} {
		refused.Store(refused.Load().(string) + id + " ")
		b.Review()
		endsRevoked(t, tunnels[id])
	}
	<-hanging
	// The one that hangs is still being judged, by one call and not by two.
	if len(hanging) != 0 {
		t.Errorf("%d more calls hang", len(hanging))
	}
	if _, err := tunnels["hangs"].Write([]byte("x")); err != nil {
		t.Errorf("the tunnel that nobody has refused: %v", err)
	}
}

func endsRevoked(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, latchkey.ErrRevoked) {
		t.Errorf("the tunnel ended with %v", err)
	}
}
