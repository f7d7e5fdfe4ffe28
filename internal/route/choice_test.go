package route

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// letters name the paths of the tests, best kind first; d and e are both
// direct.
var letters = map[string]Kind{"l": Local, "d": Direct, "e": Direct, "r": Relay, "s": Relay}

func testPaths() map[string]*Path {
	paths := make(map[string]*Path)
	for name, kind := range letters {
		paths[name] = &Path{kind: kind}
	}
	return paths
}

func nameOf(paths map[string]*Path, p *Path) string {
	for name, o := range paths {
		if o == p {
			return name
		}
	}
	return "?"
}

func TestChoice(t *testing.T) {
	// A step is a time in milliseconds, and what happens then: +x a path comes
	// up, -x it goes, ^x something is heard on it, a tick, or =xyz a datagram
	// goes out on these, the current one first.
	for _, c := range []struct{ name, steps string }{
		{"nothing is up", "0 ="},
		{"only one", "0 +r =r; 500 =r; 900 ^r =r"},
		{"up at once, beside the old one until heard", "0 +r =r ^r; 10 +d =dr; 20 =dr ^d =d; 30 +l =ld ^l =l"},
		{"a lesser one changes nothing", "0 +d =d ^d +r =d"},
		{"the newest of equals", "0 +d ^d +e =ed ^e =e"},
		{"silence is doubt, on all", "0 +r ^r +d ^d =d; 999 =d; 1000 =dr; 1500 =dr ^d =d; 2499 =d"},
		{"silence without a question is none", "0 +r ^r +d ^d; 60000 =d; 60999 =d; 61000 =dr"},
		{"nothing comes by any", "0 +r ^r +d ^d =d; 1000 =dr; 3000 =dr; 9000 =dr"},
		{"falls back when another answers", "0 +r ^r +d ^d =d; 1000 =dr ^r =r; 5999 ^r =r"},
		{"is passed over for a while though heard", "0 +r ^r +d ^d =d; 1000 =dr ^r =r ^r; 2000 ^d =r ^r; 5900 ^d =r ^r; 6000 ^d =d"},
		{"is tried again", "0 +r ^r +d ^d =d; 1000 =dr ^r =r ^r; 6000 =rd ^r; 6100 ^d =d"},
		{"is tried in vain", "0 +r ^r +d ^d =d; 1000 =dr ^r =r ^r; 6000 =rd ^r; 7000 tick =r ^r; 16999 =r ^r; 17000 =rd"},
		{"returns early when the other one is silent", "0 +r ^r +d ^d =d; 1000 =dr ^r =r; 2000 =rd ^d =d"},
		{"goes down", "0 +r ^r +d ^d =d; 10 -d =r; 20 -r ="},
		{"a failed one is better than none", "0 +r ^r +d ^d =d; 1000 =dr ^r =r; 1100 -r =d"},
		{"comes while the current one is doubted", "0 +d ^d =d; 1000 +r =dr ^d =d; 2000 =dr ^r =r"},
		{"unknown and twice", "0 ^d -d +r +r =r"},
		{"forgiven after a minute", "0 +r ^r +d ^d =d; 1000 =dr ^r; 6000 ^d =d ^d; 66000 ^d =d; 67000 =dr ^r =r ^r; 71999 ^d =r; 72000 ^d =d"},
		{"not forgiven before", "0 +r ^r +d ^d =d; 1000 =dr ^r; 6000 ^d =d ^d; 65999 ^d =d; 66999 =dr ^r =r ^r; 76998 ^d =r; 76999 ^d =d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ch choice
			paths := testPaths()
			for step := range strings.SplitSeq(c.steps, ";") {
				words := strings.Fields(step)
				ms, err := time.ParseDuration(words[0] + "ms")
				if err != nil {
					t.Fatal(err)
				}
				now := time.Unix(1000, 0).Add(ms)
				for _, w := range words[1:] {
					switch p := paths[w[1:]]; w[0] {
					case '+':
						ch.add(p, now)
					case '-':
						ch.remove(p, now)
					case '^':
						ch.heard(p, now)
					case 't':
						ch.tick(now)
					case '=':
						got := ""
						for _, p := range ch.send(nil, now) {
							got += nameOf(paths, p)
						}
						if got != w[1:] {
							t.Fatalf("at %v ms: sent on %q, want %q", words[0], got, w[1:])
						}
					}
				}
			}
		})
	}
}

func TestChoiceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c choice
		paths := testPaths()
		names := []string{"l", "d", "e", "r", "s"}
		now := time.Unix(1000, 0)
		up := make(map[*Path]bool)
		failed := make(map[*Path]time.Time)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 300, 1000, 5000, 61000}).Draw(t, "ms")) * time.Millisecond)
			p := paths[rapid.SampledFrom(names).Draw(t, "path")]
			before := c.current
			doubted := before != nil && before.suspect(now)
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				better := !up[p] && (before == nil || p.kind.rank() >= before.rank)
				c.add(p, now)
				up[p] = true
				if better != (c.current != before) || better && c.current.path != p {
					t.Fatalf("%s came up, on %s", p.kind, c.current.path.kind)
				}
			case 1:
				c.remove(p, now)
				delete(up, p)
				delete(failed, p)
			case 2, 3:
				c.heard(p, now)
				if before != nil && c.current != before && before.rank > c.current.rank {
					failed[before.path] = now
				}
				if since, ok := failed[p]; ok && c.current.path == p && c.current != before && !doubted && now.Sub(since) < firstHold {
					t.Fatalf("%s is back %v after it failed", nameOf(paths, p), now.Sub(since))
				}
			case 4:
				c.tick(now)
			}
			doubt := c.current != nil && c.current.suspect(now)
			to := c.send(nil, now)
			if (len(to) == 0) != (len(up) == 0) {
				t.Fatalf("sent on %d of %d", len(to), len(up))
			}
			if len(to) == 0 {
				continue
			}
			if to[0] != c.current.path || doubt && len(to) != len(up) {
				t.Fatalf("sent on %d of %d, current first: %v", len(to), len(up), to[0] == c.current.path)
			}
			for i, o := range to {
				if !up[o] || slices.Contains(to[:i], o) {
					t.Fatal("sent on a path that is down, or twice")
				}
			}
		}
	})
}

// TestChoiceDoesNotFlap has a direct path that fails every few seconds for an
// hour, beside a good relay. The peer answers whatever it hears.
func TestChoiceDoesNotFlap(t *testing.T) {
	var c choice
	paths := testPaths()
	d, r := paths["d"], paths["r"]
	start := time.Unix(1000, 0)
	c.add(r, start)
	c.add(d, start)
	changes := 0
	last := d
	for at := time.Duration(0); at < time.Hour; at += 50 * time.Millisecond {
		now := start.Add(at)
		works := at%(6*time.Second) < 3*time.Second
		c.tick(now)
		for _, p := range c.send(nil, now) {
			if p == r || works {
				c.heard(p, now)
			}
		}
		if c.current.path != last {
			last = c.current.path
			changes++
		}
	}
	if changes > 2*70 || changes < 2 {
		t.Errorf("%d changes in an hour", changes)
	}
	t.Logf("%d changes in an hour", changes)
}

func TestCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCarrier()
		if err := c.Send(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send without a path: %v", err)
		}
		if _, _, ok := c.Current(); ok || c.Silence() != 0 {
			t.Error("there is a path")
		}
		var sent []string
		broken := errors.New("broken")
		fail := false
		remote := netip.MustParseAddrPort("192.0.2.1:5690")
		local := LocalPath(func(b []byte) error {
			if fail {
				return broken
			}
			sent = append(sent, "local "+string(b))
			return nil
		}, remote)
		other := &Path{kind: Relay}
		other.link.Store(&link{send: func(b []byte) error { sent = append(sent, "relay "+string(b)); return nil }})
		c.Add(local)
		if kind, a, ok := c.Current(); kind != Local || a != remote || !ok {
			t.Errorf("on %q to %v", kind, a)
		}
		c.Send([]byte("1"))
		time.Sleep(suspectAfter)
		if c.Silence() != suspectAfter {
			t.Error("no doubt after a second")
		}
		c.Heard(local)
		fail = true
		if err := c.Send([]byte("lost")); !errors.Is(err, broken) || c.Silence() != 0 {
			t.Errorf("send on a broken path: %v", err)
		}
		c.Add(other)
		if err := c.Send([]byte("2")); err != nil {
			t.Errorf("send beside a broken path: %v", err)
		}
		time.Sleep(suspectAfter)
		if err := c.Send([]byte("3")); err != nil {
			t.Errorf("send although the relay works: %v", err)
		}
		c.Tick(time.Now())
		c.Heard(other)
		c.Remove(local)
		other.link.Store(nil)
		if err := c.Send([]byte("4")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send on a path that is down: %v", err)
		}
		if want := []string{"local 1", "relay 2", "relay 3"}; !slices.Equal(sent, want) {
			t.Errorf("sent %q, want %q", sent, want)
		}
		for range 2 * maxPaths {
			c.Add(&Path{kind: Direct})
		}
		if n := len(c.choice.members); n != maxPaths {
			t.Errorf("%d paths", n)
		}
	})
}
