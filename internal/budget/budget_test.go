package budget

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	one   = netip.MustParseAddr("192.0.2.1")
)

func TestFirstAnswerMayBeThreeTimesTheRequest(t *testing.T) {
	for _, c := range []struct {
		answer int
		want   bool
	}{{0, true}, {20, true}, {60, true}, {61, false}, {1 << 30, false}, {-1, false}} {
		var b Budget
		if got := b.Spend(one, 20, c.answer, start); got != c.want {
			t.Errorf("first answer of %d to 20 bytes: %t, want %t", c.answer, got, c.want)
		}
	}
}

func TestThenAnswersAreNoLargerThanRequests(t *testing.T) {
	var b Budget
	received, answered := 0, 0
	for i := range 1000 {
		received += 20
		if b.Spend(one, 20, 60, start.Add(time.Duration(i)*time.Second)) {
			answered += 60
		}
	}
	if answered > received+40 || answered < received-60 {
		t.Errorf("%d bytes received, %d answered", received, answered)
	}
}

func TestOneBudgetForAPrefix(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:0:aa00::1", "2001:db8:0:aaff:1:2:3:4", true},
		{"2001:db8:0:aa00::1", "2001:db8:0:ab00::1", false},
		{"c000:201::", "192.0.2.1", false},
		{"fe80::1%eth0", "fe80::2", true},
	} {
		var b Budget
		b.Spend(netip.MustParseAddr(c.a), 20, 60, start)
		if same := !b.Spend(netip.MustParseAddr(c.b), 20, 60, start); same != c.same {
			t.Errorf("%s and %s share a budget: %t, want %t", c.a, c.b, same, c.same)
		}
	}
}

func TestFirstIsOnceAgainOnlyAfterSilence(t *testing.T) {
	var b Budget
	b.Spend(one, 20, 60, start)
	for at := start; at.Before(start.Add(10 * Keep)); at = at.Add(Keep / 2) {
		first, second := b.Spend(one, 1, 3, at), b.Spend(one, 1, 3, at)
		if first && second {
			t.Fatalf("two answers of three times the request at %s", at)
		}
	}
	if !b.Spend(one, 20, 60, start.Add(13*Keep)) {
		t.Error("a prefix that was silent for two periods is not new again")
	}
}

func TestFullTableAnswersNothingLarger(t *testing.T) {
	b := Budget{Prefixes: 100}
	n := 0
	for i := range 100_000 {
		src := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if b.Spend(src, 20, 21, start.Add(time.Duration(i)*time.Microsecond)) {
			n++
		}
	}
	if n != 100 || b.Accounts() != 100 {
		t.Errorf("%d sources got a larger answer and %d have an account, want 100", n, b.Accounts())
	}
	if !b.Spend(netip.MustParseAddr("198.51.100.1"), 20, 20, start.Add(time.Second)) {
		t.Error("an answer no larger than its request was refused")
	}
}

// TestModel: whatever happens, no prefix gets more than it sent and twice its
// largest request for each silence of a whole period.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Budget{Prefixes: rapid.IntRange(1, 4).Draw(t, "prefixes")}
		var received, answered, largest, bonus [6]int
		var last [6]time.Time
		now := start
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "wait")) * time.Second)
			i := rapid.IntRange(0, 5).Draw(t, "source")
			in, out := rapid.IntRange(0, 1500).Draw(t, "in"), rapid.IntRange(0, 5000).Draw(t, "out")
			if now.Sub(last[i]) >= Keep {
				bonus[i]++
			}
			last[i] = now
			largest[i] = max(largest[i], in)
			received[i] += in
			if b.Spend(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), in, out, now) {
				answered[i] += out
			}
			if limit := received[i] + bonus[i]*(First-1)*largest[i]; answered[i] > limit {
				t.Fatalf("source %d sent %d bytes and got %d, more than %d", i, received[i], answered[i], limit)
			}
			if n := b.Accounts(); n > 2*b.Prefixes {
				t.Fatalf("%d accounts, limit %d for a period", n, b.Prefixes)
			}
		}
	})
}

func BenchmarkSpend(b *testing.B) {
	var budget Budget
	b.ReportAllocs()
	for i := range b.N {
		budget.Spend(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 20, 32, start)
	}
}
