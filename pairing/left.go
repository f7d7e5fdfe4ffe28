package pairing

import (
	"errors"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// TriesLeft returns how many wrong passwords password-open still takes, from all
// sources together, before it closes; 0 on a device without a password.
func (h *Host) TriesLeft() (n int, err error) {
	err = h.store.View(func(tx *acl.Tx) error {
		if _, err := h.password(tx); errors.Is(err, ErrNoPassword) {
			return nil
		}
		f, err := loadFailures(tx)
		n = max(0, MaxFailures-len(f.List))
		return err
	})
	return n, err
}

// InviteHolds reports whether an invitation could be used at the time now.
func InviteHolds(i acl.Invite, now time.Time) bool {
	return holds(i, now) && i.Failures < MaxFailures
}
