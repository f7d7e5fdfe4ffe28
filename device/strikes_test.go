package device

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// TestDialAgainAfterAbuse: a new session does not come with a new budget.
func TestDialAgainAfterAbuse(t *testing.T) {
	o := newOffice(t, func(d *Device, _ *acl.Store) { d.Limits.Refusals = 3 })
	conn := o.as("gus")
	for range 4 {
		_, _ = o.do(conn, GET, "/users", "")
	}
	if err := o.gone(conn); !errors.Is(err, latchkey.ErrAbuse) {
		t.Fatalf("the session ended with %v", err)
	}
	again := o.as("gus") // it may come back, and behave
	o.must(again, GET, "/device/info", "")
	_, _ = o.do(again, GET, "/users", "")
	if err := o.gone(again); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("after one refusal more the session ended with %v", err)
	}
	if _, err := o.let(o.keys["uma"]); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

func TestStrikesRest(t *testing.T) {
	var table strikes
	limits := Limits{Refusals: 2}.withDefaults()
	now := time.Now()
	key := func(i int) latchkey.Fingerprint {
		var b [latchkey.FingerprintSize]byte
		binary.BigEndian.PutUint32(b[:], uint32(i+1))
		f, err := latchkey.FingerprintFromBytes(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	used := func(i int, at time.Time) bool {
		l := table.begin(key(i), limits, at)
		defer table.end(key(i), at)
		return l.TokensAt(at) < 1
	}
	spend := func(i int, at time.Time) {
		table.begin(key(i), limits, at).AllowN(at, 2)
		table.end(key(i), at)
	}
	spend(0, now)
	if !used(0, now.Add(time.Second)) {
		t.Error("a second later the budget is a fresh one")
	}
	if used(0, now.Add(2*strikesLife)) {
		t.Error("two minutes later it is still used up")
	}
	if table.begin(key(0), limits, now); used(1, now) || len(table.keys) != 1 {
		t.Errorf("%d keys are remembered, of which one has a session and none was refused", len(table.keys))
	}
	for i := range 2 * maxStrikes {
		spend(i+1, now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(table.keys) != maxStrikes+1 {
		t.Errorf("%d keys are remembered", len(table.keys))
	}
	if last := now.Add(2 * maxStrikes * time.Millisecond); used(1, last) || !used(2*maxStrikes, last) {
		t.Error("not the one that had rested longest was forgotten")
	}
}
