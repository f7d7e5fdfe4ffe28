package device

import (
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

func testKey(t *testing.T, i int) latchkey.Fingerprint {
	t.Helper()
	b := make([]byte, 64)
	for j := range b {
		b[j] = "0123456789abcdef"[(i>>(4*min(j, 6)))&15]
	}
	key, err := latchkey.ParseFingerprint(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestIntroBudget: one client cannot take what others need, and no number of
// clients makes the device keep more than it says.
func TestIntroBudget(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := newIntroBudget()
	greedy, modest := testKey(t, 1), testKey(t, 2)
	granted := 0
	for i := range 600 { // ten times a second for a minute
		if b.of(greedy, now.Add(time.Duration(i)*100*time.Millisecond)) {
			granted++
		}
	}
	if granted < shareBurst+55 || granted > shareBurst+61 {
		t.Errorf("one client got %d introductions in a minute", granted)
	}
	if !b.of(modest, now) {
		t.Error("another client got none")
	}
	together := 0
	for range 1000 {
		if b.any(now) {
			together++
		}
	}
	if together != introBurst {
		t.Errorf("%d introductions at once", together)
	}
	for i := range 2 * maxShares {
		b.of(testKey(t, 100+i), now)
	}
	if len(b.shares) > maxShares {
		t.Errorf("%d shares are kept", len(b.shares))
	}
	if later := now.Add(time.Hour); !b.of(testKey(t, 5000), later) || len(b.shares) > 2 {
		t.Errorf("%d shares are kept after an hour of rest", len(b.shares))
	}
}
