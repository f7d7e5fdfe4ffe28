package device

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// TestInvitationsKeepNoKeyOut: where there are more connect tokens than a
// basestation takes, those of keys are among them.
func TestInvitationsKeepNoKeyOut(t *testing.T) {
	s, _ := waiting(t)
	s.log = slog.New(slog.DiscardHandler)
	const invited = 1000
	keys := make(map[latchkey.Fingerprint]bool)
	err := s.access.Update(func(tx *acl.Tx) error {
		for n := 0; len(keys) < signal.MaxTokens-invited/2; n++ {
			var b [latchkey.FingerprintSize]byte
			b[0], b[1], b[2] = 1, byte(n>>8), byte(n)
			key, err := latchkey.FingerprintFromBytes(b[:])
			if err != nil {
				return err
			}
			user := fmt.Sprintf("u%d", n/8)
			if n%8 == 0 {
				if err := tx.AddUser(acl.User{Name: user, Role: acl.RoleGuest}); err != nil {
					return err
				}
			}
			if err := tx.AddKey(acl.Key{Fingerprint: key, User: user}); err != nil {
				return err
			}
			keys[key] = true
		}
		for n := range invited {
			err := tx.PutInvite(acl.Invite{
				ID: fmt.Sprintf("AAAAAAAAAAAAAAAAA%04dA", n), User: fmt.Sprintf("i%d", n), Role: acl.RoleGuest,
				Created: time.Now(), Expires: time.Now().Add(time.Hour), Verifier: []byte("x"),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.connectTokens(time.Now())
	if err != nil || len(list) != signal.MaxTokens {
		t.Fatalf("%d tokens, %v", len(list), err)
	}
	for _, one := range list {
		delete(keys, one.Key)
	}
	if len(keys) > 0 {
		t.Errorf("%d keys are not in the list", len(keys))
	}
}
