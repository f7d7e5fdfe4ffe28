package discover

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A story feeds messages to a browser, a second apart, and looks after each.
type story struct {
	t   *testing.T
	b   *browser
	now time.Time
}

func newStory(t *testing.T) *story { return &story{t, newBrowser(start), start} }

func (s *story) hear(records ...dnsmessage.Resource) []Found {
	s.now = s.now.Add(time.Second)
	s.b.handle(s.now, &message{response: true, answers: records}, lan())
	return s.b.look(s.now.Add(settleTime))
}

func (s *story) want(what string, got []Found, want ...Found) {
	s.t.Helper()
	if !slices.EqualFunc(got, want, func(a, b Found) bool { return a.Gone == b.Gone && a.equal(b) }) {
		s.t.Errorf("%s: found %+v, want %+v", what, got, want)
	}
}

// lamp is a device as it says itself.
func lampRecords(info Info, ttl uint32) []dnsmessage.Resource {
	instance := instanceLabel(info.Name, "") + "." + serviceName
	return []dnsmessage.Resource{
		record(serviceName, ttl, ptr(instance)),
		record(instance, ttl, srv("lamp.local.", 5690)),
		record(instance, ttl, &dnsmessage.TXTResource{TXT: encodeTXT(info)}),
		record("lamp.local.", ttl, address("192.0.2.9")),
		record("lamp.local.", ttl, address("2001:db8::9")),
		record("lamp.local.", ttl, address("fe80::9")),
	}
}

func lampFound(info Info, addrs ...string) Found {
	f := Found{ID: info.ID, Name: info.Name, Key: info.Key, Gone: len(addrs) == 0}
	for _, a := range addrs {
		f.Addrs = append(f.Addrs, netip.MustParseAddrPort(a))
	}
	return f
}

var lampAddrs = []string{"192.0.2.9:5690", "[2001:db8::9]:5690", "[fe80::9%lan0]:5690"}

func TestBrowserFinds(t *testing.T) {
	info := newInfo(t, "Lamp")
	records := lampRecords(info, ttlHost)
	whole := lampFound(info, lampAddrs...)

	s := newStory(t)
	s.want("all at once", s.hear(records...), whole)
	s.want("the same again", s.hear(records...))

	s = newStory(t)
	reversed := slices.Clone(records)
	slices.Reverse(reversed)
	s.want("addresses before the rest", s.hear(reversed...), whole)

	s = newStory(t)
	s.want("pointer", s.hear(records[0]))
	s.want("service", s.hear(records[1]))
	s.want("text", s.hear(records[2]))
	s.want("first address", s.hear(records[3]), lampFound(info, lampAddrs[0]))
	s.want("other addresses", s.hear(records[4:]...), whole)

	s = newStory(t)
	s.want("without a pointer", s.hear(records[1:]...), whole)
}

func TestBrowserFollowsChanges(t *testing.T) {
	info := newInfo(t, "Lamp")
	records := lampRecords(info, ttlHost)[:4]
	s := newStory(t)
	s.want("first", s.hear(records...), lampFound(info, "192.0.2.9:5690"))

	moved := record("lamp.local.", ttlHost, address("192.0.2.10"))
	s.want("another address", s.hear(moved), lampFound(info, "192.0.2.9:5690", "192.0.2.10:5690"))
	moved.Header.Class |= flagCacheFlush
	s.now = s.now.Add(time.Second)
	s.want("the only address", s.hear(moved), lampFound(info, "192.0.2.10:5690"))
	withdrawn := moved
	withdrawn.Header.TTL = 0
	s.want("no address left", s.hear(withdrawn))
	s.want("address again", s.hear(moved)) // nothing has changed since it was shown

	port := record(records[1].Header.Name.String(), ttlHost, srv("lamp.local.", 6000))
	s.want("another port", s.hear(port), lampFound(info, "192.0.2.10:6000"))
	renamed := info
	renamed.Name = "Light"
	s.want("another text", s.hear(record(records[2].Header.Name.String(), ttlHost, &dnsmessage.TXTResource{TXT: encodeTXT(renamed)})),
		lampFound(renamed, "192.0.2.10:6000"))
}

func TestBrowserGone(t *testing.T) {
	info := newInfo(t, "Lamp")
	records := lampRecords(info, ttlHost)
	for name, bye := range map[string]dnsmessage.Resource{
		"pointer": record(serviceName, 0, ptr("lAMP."+serviceName)),
		"service": record("Lamp."+serviceName, 0, srv("lamp.local.", 5690)),
	} {
		s := newStory(t)
		s.hear(records...)
		s.want("goodbye by "+name, s.hear(bye), lampFound(info))
		if len(s.b.instances)+len(s.b.hosts) != 0 {
			t.Errorf("%s: %d instances and %d hosts are left", name, len(s.b.instances), len(s.b.hosts))
		}
		s.want("goodbye again", s.hear(bye))
		s.want("back", s.hear(records...), lampFound(info, lampAddrs...))
	}

	s := newStory(t)
	s.hear(records...)
	if at := s.b.next().Sub(s.now); at > ttlHost*time.Second {
		t.Errorf("next look after %v", at)
	}
	s.want("before it expires", s.b.look(s.now.Add(ttlHost*time.Second-1)))
	s.want("when it expires", s.b.look(s.now.Add(ttlHost*time.Second)), lampFound(info))
	s.want("strangers' goodbye", s.hear(record(serviceName, 0, ptr("Other."+serviceName))))
}

// A device that changes its name says goodbye and hello under one key; who goes
// by the key must hear it in this order.
func TestBrowserRename(t *testing.T) {
	info := newInfo(t, "Lamp")
	s := newStory(t)
	s.hear(lampRecords(info, ttlHost)...)
	renamed := info
	renamed.Name = "A lamp" // sorts before
	records := append(lampRecords(renamed, ttlHost), record(serviceName, 0, ptr("Lamp."+serviceName)))
	s.want("rename", s.hear(records...), lampFound(info), lampFound(renamed, lampAddrs...))
}

func TestBrowserIgnores(t *testing.T) {
	info := newInfo(t, "Lamp")
	good := lampRecords(info, ttlHost)
	replace := func(i int, r dnsmessage.Resource) []dnsmessage.Resource {
		list := slices.Clone(good[:4])
		list[i] = r
		return list
	}
	instance := "Lamp." + serviceName
	for name, records := range map[string][]dnsmessage.Resource{
		"address off the link":   replace(3, record("lamp.local.", ttlHost, address("8.8.8.8"))),
		"loopback address":       replace(3, record("lamp.local.", ttlHost, address("127.0.0.1"))),
		"mapped address":         replace(3, record("lamp.local.", ttlHost, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("::ffff:192.0.2.9").As16()})),
		"address of another":     replace(3, record("other.local.", ttlHost, address("192.0.2.9"))),
		"port 0":                 replace(1, record(instance, ttlHost, srv("lamp.local.", 0))),
		"service of another":     replace(1, record("Lamp._http._tcp.local.", ttlHost, srv("lamp.local.", 5690))),
		"text without a key":     replace(2, record(instance, ttlHost, &dnsmessage.TXTResource{TXT: []string{"v=1", "id=a/b"}})),
		"text that says goodbye": replace(2, record(instance, 0, &dnsmessage.TXTResource{TXT: encodeTXT(info)})),
	} {
		s := newStory(t)
		s.want(name, s.hear(records...))
	}
	s := newStory(t)
	s.b.handle(s.now, &message{answers: good}, lan())
	s.want("records in a question", s.b.look(s.now.Add(time.Hour)))
	s.hear(record(serviceName, ttlHost, ptr("Lamp._http._tcp.local.")), record("x.local.", ttlHost, ptr(instance)),
		record(serviceName, ttlHost, ptr(serviceName)), record(serviceName, ttlHost, ptr("a.b."+serviceName)))
	if len(s.b.instances) != 0 {
		t.Errorf("took up %d instances of other services", len(s.b.instances))
	}
}

func TestBrowserQueries(t *testing.T) {
	b := newBrowser(start)
	var pauses []time.Duration
	for at, last := b.next(), start; len(pauses) < 9; at = b.next() {
		q := mustParse(t, b.query(at))
		if q.response || len(q.questions) != 1 || q.questions[0] != question(serviceName, dnsmessage.TypePTR) {
			t.Fatalf("asks %+v", q.questions)
		}
		pauses, last = append(pauses, at.Sub(last)), at
	}
	const s = time.Second
	if want := []time.Duration{firstQuery, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}; !slices.Equal(pauses, want) {
		t.Errorf("asks after %v, want %v", pauses, want)
	}
	if b.query(start) != nil {
		t.Error("asks before it is time")
	}
	// What is missing is asked for.
	now := start.Add(time.Hour)
	info := newInfo(t, "Lamp")
	records := lampRecords(info, ttlHost)
	asks := func() (out []string) {
		b.again(now)
		now = now.Add(firstQuery)
		for _, q := range mustParse(t, b.query(now)).questions[1:] {
			out = append(out, fmt.Sprint(q.Name, " ", q.Type))
		}
		return out
	}
	b.handle(now, &message{response: true, answers: records[:1]}, lan())
	if got, want := asks(), []string{"lamp._latchkey._udp.local. TypeSRV", "lamp._latchkey._udp.local. TypeTXT"}; !slices.Equal(got, want) {
		t.Errorf("of an instance it asks %q, want %q", got, want)
	}
	b.handle(now, &message{response: true, answers: records[1:3]}, lan())
	if got, want := asks(), []string{"lamp.local. TypeA", "lamp.local. TypeAAAA"}; !slices.Equal(got, want) {
		t.Errorf("of a host it asks %q, want %q", got, want)
	}
	b.handle(now, &message{response: true, answers: records}, lan())
	if got := asks(); got != nil {
		t.Errorf("of what is complete it asks %q", got)
	}
}

// checkBounds fails when a browser holds or shows more than it may.
func checkBounds(t *testing.T, b *browser, shown []Found) {
	t.Helper()
	if len(b.instances) > maxInstances || len(b.hosts) > maxHosts {
		t.Fatalf("%d instances, %d hosts", len(b.instances), len(b.hosts))
	}
	for _, list := range b.hosts {
		if len(list) > maxHostAddrs {
			t.Fatalf("%d addresses of a host", len(list))
		}
	}
	for _, f := range shown {
		if !f.ID.Valid() || f.Key.IsZero() || !isPlain(f.Name) || f.Name == "" || len(f.Addrs) > maxHostAddrs || f.Gone != (len(f.Addrs) == 0) {
			t.Fatalf("found %#v", f)
		}
		for _, a := range f.Addrs {
			if !a.IsValid() || a.Port() == 0 || !lan().reaches(a.Addr()) {
				t.Fatalf("found at %v", a)
			}
		}
	}
	if q := b.query(b.queryAt); len(q) > 1500 {
		t.Fatalf("a question of %d bytes", len(q))
	}
}

// Ten thousand devices, hosts and addresses, with the longest names there are.
func TestBrowserFlood(t *testing.T) {
	b := newBrowser(start)
	now := start
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	shown := 0
	for i := range 10_000 {
		info := newInfo(t, strings.Repeat("\x1b", 20)+fmt.Sprint(i))
		label := fmt.Sprintf("%s%d", strings.Repeat("x", 50), i)
		instance, host := label+"."+serviceName, fmt.Sprintf("%s.%[1]s.%[1]s.local.", label)
		m := &message{response: true, answers: []dnsmessage.Resource{
			record(serviceName, 1<<31, ptr(instance)),
			record(instance, 1<<31, srv(host, 5690)),
			record(instance, 1<<31, &dnsmessage.TXTResource{TXT: encodeTXT(info)}),
		}}
		for j := range 20 {
			m.answers = append(m.answers, record(host, 1<<31, address(fmt.Sprintf("192.0.2.%d", j))))
		}
		now = now.Add(time.Millisecond)
		b.handle(now, m, lan())
		found := b.look(now)
		shown += len(found)
		checkBounds(t, b, found)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("holds %d KiB", grown>>10)
	}
	if shown > maxInstances {
		t.Errorf("showed %d devices", shown)
	}
	if left := b.look(now.Add(25 * time.Hour)); len(left) != shown || len(b.instances)+len(b.hosts) != 0 {
		t.Errorf("after a day %d devices leave, %d instances and %d hosts stay", len(left), len(b.instances), len(b.hosts))
	}
}

// One instance that names ever new hosts.
func TestBrowserHostFlood(t *testing.T) {
	b := newBrowser(start)
	for i := range 10_000 {
		b.handle(start, &message{response: true, answers: []dnsmessage.Resource{
			record("Lamp."+serviceName, ttlHost, srv(fmt.Sprintf("h%d.local.", i), 1)),
		}}, lan())
	}
	checkBounds(t, b, nil)
	if b.look(start.Add(time.Second)); len(b.hosts) > 1 {
		t.Errorf("%d hosts of one instance stay", len(b.hosts))
	}
}

func FuzzBrowser(f *testing.F) {
	info := newInfo(f, "Lamp")
	r := newTestResponder(f, info)
	f.Add(r.response(lan(), ttlOther))
	f.Add(r.response(lan(), 0))
	f.Add(pack(dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Additionals: lampRecords(info, ttlHost)}))
	f.Add(pack(dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{
		record("x\x1b."+serviceName, ttlHost, srv("\x07.", 1)),
	}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, ok := parse(data)
		if !ok {
			return
		}
		b := newBrowser(start)
		for i := range 3 {
			now := start.Add(time.Duration(i) * time.Second)
			b.handle(now, &m, lan())
			checkBounds(t, b, b.look(now.Add(settleTime)))
		}
		checkBounds(t, b, b.look(start.Add(25*time.Hour)))
		if len(b.instances)+len(b.hosts) != 0 {
			t.Error("something stays for ever")
		}
	})
}
