package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/form"
)

// A device refuses what cannot be without a word, so it is found out here, where it
// can be said what is wrong.

const (
	// maxInviteLife is the longest that a device lets an invitation hold.
	maxInviteLife = 90 * 24 * time.Hour
	// maxDeviceName is the longest name of a device in bytes.
	maxDeviceName = 128
)

// ErrUnusable reports a value that no device takes. Nothing was sent.
var ErrUnusable = errors.New("client: not sent")

// unusable is an error that matches ErrUnusable and says only what is wrong.
type unusable struct{ error }

func (e unusable) Is(target error) bool { return target == ErrUnusable }
func (e unusable) Unwrap() error        { return e.error }

func checkUser(name string) error { return orUnusable(acl.CheckUserName(name)) }
func checkKey(name string) error  { return orUnusable(acl.CheckKeyName(name)) }

func orUnusable(err error) error {
	if err == nil {
		return nil
	}
	return unusable{err}
}

func checkNewUser(name string, u NewUser) error {
	if u.Key.IsZero() && u.KeyName != "" {
		return unusable{errors.New("the name of a key, and no key")}
	}
	if err := checkUser(name); err != nil {
		return err
	}
	return checkKey(u.KeyName)
}

func checkInvite(user string, life time.Duration) error {
	if life < 0 || life > maxInviteLife {
		return unusable{fmt.Errorf("an invitation ends in the future, within %d days", maxInviteLife/(24*time.Hour))}
	}
	return checkUser(user)
}

func checkDeviceName(name string) error {
	if len(name) > maxDeviceName || !form.Printable(name) {
		return unusable{fmt.Errorf("a name is up to %d bytes of text that can be printed", maxDeviceName)}
	}
	return nil
}
