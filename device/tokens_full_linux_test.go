package device

import (
	"errors"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// TestNoTokenForWhoIsHeldOut: a key whose removal could not be written, because the
// disk is full, has no connect token any more, and one that is to end sooner has
// one that does.
func TestNoTokenForWhoIsHeldOut(t *testing.T) {
	o := newOffice(t, nil)
	s, err := o.serving()
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.connectTokens(time.Now()); err != nil || len(list) != 3 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	soon := time.Now().Add(time.Hour)
	remove := func(tx *acl.Tx) error {
		u, _ := tx.User("uma")
		u.Expires = soon
		return errors.Join(tx.RemoveUser("gus"), tx.SetUser(u))
	}
	if err := whenFull(t, func() error { return o.store.Update(remove) }); !errors.Is(err, acl.ErrHeld) {
		t.Fatalf("removed with %v", err)
	}
	list, err := s.connectTokens(time.Now())
	if err != nil || len(list) != 2 {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	for _, one := range list {
		if one.Key == o.keys["uma"].Fingerprint() && !one.Expires.Equal(soon) {
			t.Errorf("uma's token ends at %v", one.Expires)
		}
	}
}

// whenFull runs f while no file can be written.
func whenFull(t *testing.T, f func() error) error {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}()
	return f()
}
