package basestation

import (
	"net/netip"
	"testing"
	"time"
)

func TestCredit(t *testing.T) {
	var c credit
	now := time.Now()
	peer, neighbour, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:ff::2"), netip.MustParseAddr("192.0.2.1")
	takes := func(source netip.Addr, at time.Time) (n int) {
		for c.take(source, at) {
			n++
		}
		return n
	}
	if n := takes(peer, now); n != 0 {
		t.Errorf("%d answers without a grant", n)
	}
	c.add(peer, now)
	if n := takes(other, now); n != 0 {
		t.Errorf("%d answers to another prefix", n)
	}
	if n := takes(neighbour, now); n != grantAnswers {
		t.Errorf("%d answers for a grant to the same /56, want %d", n, grantAnswers)
	}
	for range maxAnswers {
		c.add(other, now)
	}
	if n := takes(other, now); n != maxAnswers {
		t.Errorf("%d answers for many grants, want %d", n, maxAnswers)
	}
	c.add(other, now)
	now = now.Add(creditKeep)
	c.add(other, now)
	if n := takes(other, now); n != 2*grantAnswers {
		t.Errorf("%d answers of two periods, want %d", n, 2*grantAnswers)
	}
	c.add(other, now)
	if n := takes(other, now.Add(2*creditKeep)); n != 0 {
		t.Errorf("%d answers long after the grant", n)
	}
}
