package device

import (
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// TrustLoopback lets the issuers of d.Tokens have their keys on this machine.
func TrustLoopback(d *Device) { d.bearer.Loopback = true }

// SetWall gives d another clock.
func SetWall(d *Device, wall func() time.Time) { d.wall = wall }

// An Entry is one of the device's own operations.
type Entry struct {
	Pattern string
	Method  Method
	Actions []acl.Action // that it may be judged as
}

// Entries lists the device's own operations, from the table that serves them.
func Entries() (list []Entry) {
	for _, r := range resources() {
		e := Entry{r.pattern, r.method, []acl.Action{r.action}}
		if r.self != "" {
			e.Actions = append(e.Actions, r.self)
		}
		list = append(list, e)
	}
	return list
}

// KnownTime is what a device with this store takes the time for when the machine
// says now.
func KnownTime(store *acl.Store, now time.Time) time.Time {
	return newClock(store, func() time.Time { return now }, nil).now()
}
