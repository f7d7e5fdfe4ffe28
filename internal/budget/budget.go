package budget

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// First is how many times the size of a new prefix's first request its
	// answer may be.
	First = 3
	// Keep is how long the account of a silent prefix is remembered at least;
	// at most it is twice as long.
	Keep = time.Minute

	defaultPrefixes = 65_536
	// maxCredit is what an account holds at most, in bytes. What a prefix did
	// not spend when it could is lost.
	maxCredit = 16 << 10
)

// A Budget has an account for each prefix of unproven sources: an IPv4 address
// or an IPv6 /56. The zero Budget is ready for use. It takes about 100 bytes
// for each account and is safe for concurrent use.
type Budget struct {
	// Prefixes is the number of accounts that may be opened within Keep; 65,536
	// if zero. Not to be changed after the first Spend.
	Prefixes int

	mu       sync.Mutex
	turned   time.Time
	now, old map[key]int32 // credit in bytes; accounts of this and of the last period
}

// key is an IPv4 address or the first 56 bits of an IPv6 address, and which.
type key [8]byte

func keyOf(a netip.Addr) key {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return key{b[0], b[1], b[2], b[3], 0, 0, 0, 4}
	}
	b := a.As16()
	return key{b[0], b[1], b[2], b[3], b[4], b[5], b[6], 6}
}

// Spend reports whether a request of received bytes from src may be answered
// with answer bytes at the time now, and books both. A request that may not be
// answered still counts as credit. Spend with answer 0 is always true.
func (b *Budget) Spend(src netip.Addr, received, answer int, now time.Time) bool {
	if received < 0 || answer < 0 {
		return false
	}
	received, answer = min(received, maxCredit), min(answer, maxCredit+1)
	k := keyOf(src)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	credit, known := b.now[k]
	if !known {
		credit, known = b.old[k]
		if len(b.now) >= b.Prefixes {
			return b.spendOld(k, credit, known, received, answer)
		}
		if !known {
			credit = int32(min((First-1)*received, maxCredit-received))
		}
	}
	credit, ok := settle(credit, received, answer)
	b.now[k] = credit
	return ok
}

// spendOld books on an account of the last period, which cannot move to this
// one because that is full; it is forgotten when this period ends. Without an
// account nothing is booked.
func (b *Budget) spendOld(k key, credit int32, known bool, received, answer int) bool {
	if !known {
		return answer <= received
	}
	credit, ok := settle(credit, received, answer)
	b.old[k] = credit
	return ok
}

func settle(credit int32, received, answer int) (int32, bool) {
	credit = min(credit+int32(received), maxCredit)
	if int32(answer) > credit {
		return credit, false
	}
	return credit - int32(answer), true
}

// turn begins a new period when the present one is over.
func (b *Budget) turn(now time.Time) {
	if b.now == nil {
		b.now, b.old = map[key]int32{}, map[key]int32{}
		b.turned = now
		if b.Prefixes <= 0 {
			b.Prefixes = defaultPrefixes
		}
	}
	silent := now.Sub(b.turned)
	if silent < Keep {
		return
	}
	b.turned = now
	b.now, b.old = b.old, b.now
	clear(b.now)
	if silent >= 2*Keep {
		clear(b.old)
	}
}

// Accounts returns how many prefixes have an account.
func (b *Budget) Accounts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.now)
	for k := range b.old {
		if _, both := b.now[k]; !both {
			n++
		}
	}
	return n
}
