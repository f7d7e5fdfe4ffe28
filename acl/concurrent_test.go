package acl

import (
	"errors"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// Decisions are made while changes are written, and each sees one state: at any
// time exactly one of two users is admin.
func TestAuthorizeDuringUpdate(t *testing.T) {
	s := newStore(t)
	peers := [2]latchkey.Fingerprint{pair(t, s, "anna", RoleAdmin, 1), pair(t, s, "bob", RoleGuest, 2)}
	names := [2]string{"anna", "bob"}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { // ends when done is closed
			for {
				select {
				case <-done:
					return
				default:
				}
				admins := 0
				if err := s.View(func(tx *Tx) error {
					for _, u := range tx.Users() {
						if u.Role == RoleAdmin {
							admins++
						}
					}
					return nil
				}); err != nil || admins != 1 {
					t.Errorf("%d admins, %v", admins, err)
					return
				}
				for _, fp := range peers {
					subject, ok := s.Lookup(fp)
					r := &Request{Peer: fp, Action: CoAPPut, Resource: "/x"}
					d, err := s.Explain(r), s.Authorize(t.Context(), r)
					if !ok || subject.User == "" || d.Subject.Role == RoleGuest && d.Effect == Allow ||
						err != nil && !errors.Is(err, latchkey.ErrForbidden) {
						t.Errorf("%+v, %+v, %v", subject, d, err)
						return
					}
				}
			}
		})
	}
	for i := range 60 {
		update(t, s, func(tx *Tx) error {
			return errors.Join(tx.SetRole(names[i%2], RoleGuest), tx.SetRole(names[(i+1)%2], RoleAdmin))
		})
		winner, loser := peers[(i+1)%2], peers[i%2]
		if err := s.Authorize(t.Context(), &Request{Peer: winner, Action: CoAPPut, Resource: "/x"}); err != nil {
			t.Error(err)
		}
		if err := s.Authorize(t.Context(), &Request{Peer: loser, Action: CoAPPut, Resource: "/x"}); err == nil {
			t.Error("demoted, and still allowed")
		}
	}
	close(done)
	readers.Wait()
}

// Of many who want to be first, one is: a test and the change that follows it
// are one.
func TestUpdateTestAndSet(t *testing.T) {
	s := newStore(t)
	errTaken := errors.New("taken")
	var wins, losses int
	var mu sync.Mutex
	var racers sync.WaitGroup
	for n := range 20 {
		racers.Go(func() {
			err := s.Update(func(tx *Tx) error {
				if len(tx.Users()) > 0 {
					return errTaken
				}
				return errors.Join(tx.AddUser(User{Name: "owner", Role: RoleAdmin}),
					tx.AddKey(Key{Fingerprint: fingerprint(n), User: "owner"}))
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case errors.Is(err, errTaken):
				losses++
			default:
				t.Error(err)
			}
		})
	}
	racers.Wait()
	if wins != 1 || losses != 19 {
		t.Errorf("%d wins, %d losses", wins, losses)
	}
}

// Close, changes and decisions at once.
func TestCloseDuringUpdate(t *testing.T) {
	s := newStore(t)
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 10 {
				if err := s.Update(func(tx *Tx) error {
					return tx.SetSetting("a", string(rune('a'+n))+string(rune('a'+i)))
				}); err != nil {
					return
				}
			}
		})
	}
	s.Changed()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	writers.Wait()
	if err := s.Update(func(tx *Tx) error { return tx.SetSetting("a", "b") }); err == nil {
		t.Error("a change after Close")
	}
}
