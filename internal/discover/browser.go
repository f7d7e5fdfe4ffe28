package discover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxInstances = 256 // those beyond are not taken up until some go
	maxHosts     = 256
	maxHostAddrs = 16

	firstQuery = 20 * time.Millisecond // RFC 6762 section 5.2; each pause is then
	firstPause = time.Second           // twice the one before, up to lastPause,
	lastPause  = time.Minute           // well within the life of an address record
	maxAsk     = 1000                  // bytes of names asked for in one query

	settleTime = 50 * time.Millisecond // from a change to the look at what it means
	flushAfter = time.Second           // RFC 6762 section 10.2
	vagueLife  = 10 * time.Second      // of an instance of which only the name is known
)

// An instance is what is known under one name.
type instance struct {
	expires time.Time
	port    uint16 // 0: no SRV record yet
	host    string // folded
	text    Found  // from the TXT record; its Key is zero before
	shown   *Found // as last yielded
}

// A hostAddr is an address of a host as it is known on one link.
type hostAddr struct {
	addr    netip.Addr // with the zone of the link if it needs one
	index   int        // of the link's interface
	heard   time.Time
	expires time.Time
}

// A browser collects what is said about devices. It is a state machine without
// goroutines. Whatever arrives, it holds at most maxInstances and maxHosts, and
// nothing longer than a DNS name or MaxName in them.
type browser struct {
	instances map[string]*instance  // by folded name
	hosts     map[string][]hostAddr // by folded name; those that an instance names

	queryAt time.Time
	pause   time.Duration
	lookAt  time.Time // when something has changed and settled, or expires
}

func newBrowser(now time.Time) *browser {
	return &browser{
		instances: make(map[string]*instance), hosts: make(map[string][]hostAddr),
		queryAt: now.Add(firstQuery), pause: firstPause, lookAt: now.Add(never),
	}
}

// next returns when query or look has something to do.
func (b *browser) next() time.Time { return earlier(b.queryAt, b.lookAt) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// again asks at once, because there are other links.
func (b *browser) again(now time.Time) { b.queryAt, b.pause = now.Add(firstQuery), firstPause }

// handle takes a message that came over a link.
func (b *browser) handle(now time.Time, m *message, l *link) {
	if !m.response {
		return
	}
	// Addresses last: only those of hosts that a service names are kept.
	for i := range m.answers {
		b.service(now, &m.answers[i])
	}
	for i := range m.answers {
		b.address(now, &m.answers[i], l)
	}
}

// service takes a pointer, service or text record.
func (b *browser) service(now time.Time, r *dnsmessage.Resource) {
	switch body := r.Body.(type) {
	case *dnsmessage.PTRResource:
		if !sameName(r.Header.Name, serviceName) {
			return
		}
		if r.Header.TTL == 0 {
			b.drop(now, fold(body.PTR))
			return
		}
		b.instance(now, fold(body.PTR))
	case *dnsmessage.SRVResource:
		name := fold(r.Header.Name)
		if r.Header.TTL == 0 {
			b.drop(now, name)
			return
		}
		if in := b.instance(now, name); in != nil {
			in.port, in.host = body.Port, fold(body.Target)
			in.expires = now.Add(ttl(r.Header))
			if _, ok := b.hosts[in.host]; !ok && len(b.hosts) < maxHosts {
				b.hosts[in.host] = nil
			}
			b.changed(now)
		}
	case *dnsmessage.TXTResource:
		found, ok := decodeTXT(body.TXT)
		if in := b.instance(now, fold(r.Header.Name)); in != nil && ok && r.Header.TTL > 0 {
			in.text = found
			b.changed(now)
		}
	}
}

// instance returns the instance of a folded name, nil if it is none of ours or
// there is no room.
func (b *browser) instance(now time.Time, name string) *instance {
	in, ok := b.instances[name]
	if !ok && len(b.instances) < maxInstances && isInstance(name) {
		in = &instance{expires: now.Add(vagueLife)}
		b.instances[name] = in
		b.lookAt = earlier(b.lookAt, in.expires)
	}
	return in
}

func (b *browser) drop(now time.Time, name string) {
	if in, ok := b.instances[name]; ok {
		in.expires = now
		b.changed(now)
	}
}

func (b *browser) changed(now time.Time) { b.lookAt = earlier(b.lookAt, now.Add(settleTime)) }

// address takes an address record of a host that some instance names.
func (b *browser) address(now time.Time, r *dnsmessage.Resource, l *link) {
	var addr netip.Addr
	switch body := r.Body.(type) {
	case *dnsmessage.AResource:
		addr = netip.AddrFrom4(body.A)
	case *dnsmessage.AAAAResource:
		addr = netip.AddrFrom16(body.AAAA)
	default:
		return
	}
	if addr.Is4In6() || !l.reaches(addr) {
		return
	}
	name := fold(r.Header.Name)
	list, ok := b.hosts[name]
	if !ok {
		return
	}
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(l.ifi.Name)
	}
	flush := r.Header.Class&flagCacheFlush != 0
	list = slices.DeleteFunc(list, func(a hostAddr) bool {
		sameSet := a.index == l.ifi.Index && a.addr.Is6() == addr.Is6()
		return a.addr == addr || sameSet && flush && now.Sub(a.heard) > flushAfter
	})
	if r.Header.TTL > 0 && len(list) < maxHostAddrs {
		list = append(list, hostAddr{addr, l.ifi.Index, now, now.Add(ttl(r.Header))})
	}
	b.hosts[name] = list
	b.changed(now)
}

// look returns what is new since the last look, when it is time for one: devices
// that are complete, changed or gone. It also forgets what has expired.
func (b *browser) look(now time.Time) (news []Found) {
	if now.Before(b.lookAt) {
		return nil
	}
	b.lookAt = now.Add(never)
	hosts := make(map[string]bool, len(b.instances))
	for _, name := range slices.Sorted(maps.Keys(b.instances)) {
		in := b.instances[name]
		if !now.Before(in.expires) {
			delete(b.instances, name)
			if in.shown != nil {
				news = append(news, Found{ID: in.shown.ID, Name: in.shown.Name, Key: in.shown.Key, Gone: true})
			}
			continue
		}
		hosts[in.host] = true
		b.lookAt = earlier(b.lookAt, in.expires)
		found := in.text
		found.Addrs = b.addrs(now, in)
		if found.Key.IsZero() || len(found.Addrs) == 0 || in.shown != nil && in.shown.equal(found) {
			continue
		}
		in.shown = &found
		news = append(news, found)
	}
	maps.DeleteFunc(b.hosts, func(name string, _ []hostAddr) bool { return !hosts[name] })
	// Goodbyes first, so that a device that changed its name is not lost.
	slices.SortStableFunc(news, func(x, y Found) int {
		switch {
		case x.Gone == y.Gone:
			return 0
		case x.Gone:
			return -1
		}
		return 1
	})
	return news
}

func (f *Found) equal(o Found) bool {
	return f.ID == o.ID && f.Name == o.Name && f.Key == o.Key && slices.Equal(f.Addrs, o.Addrs)
}

// addrs returns the addresses of an instance in a constant order: IPv4, IPv6,
// then link-local.
func (b *browser) addrs(now time.Time, in *instance) []netip.AddrPort {
	if in.port == 0 {
		return nil
	}
	var list []netip.AddrPort
	for _, a := range b.hosts[in.host] {
		if now.Before(a.expires) {
			list = append(list, netip.AddrPortFrom(a.addr, in.port))
		}
	}
	slices.SortFunc(list, func(x, y netip.AddrPort) int {
		rank := func(a netip.Addr) int {
			switch {
			case a.IsLinkLocalUnicast():
				return 2
			case a.Is6():
				return 1
			}
			return 0
		}
		if d := rank(x.Addr()) - rank(y.Addr()); d != 0 {
			return d
		}
		return x.Compare(y)
	})
	return list
}

// query returns the question that is due, nil if none is: who is there, and what
// is missing of those that are known.
func (b *browser) query(now time.Time) []byte {
	if now.Before(b.queryAt) {
		return nil
	}
	b.queryAt, b.pause = now.Add(b.pause), min(2*b.pause, lastPause)
	var (
		ask  []dnsmessage.Question
		size int
	)
	add := func(name string, types ...dnsmessage.Type) {
		for _, t := range types {
			ask = append(ask, dnsmessage.Question{Name: dnsName(name), Type: t, Class: dnsmessage.ClassINET})
			size += len(name)
		}
	}
	add(serviceName, dnsmessage.TypePTR)
	for name, in := range b.instances {
		if size > maxAsk {
			break
		}
		switch {
		case in.port == 0 || in.text.Key.IsZero():
			add(name, dnsmessage.TypeSRV, dnsmessage.TypeTXT)
		case len(b.addrs(now, in)) == 0:
			add(in.host, dnsmessage.TypeA, dnsmessage.TypeAAAA)
		}
	}
	return pack(dnsmessage.Message{Questions: ask})
}
