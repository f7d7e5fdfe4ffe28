package discover

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func newTestResponder(t testing.TB, info Info) *responder {
	t.Helper()
	l := lan()
	r := newResponder(start, info, map[outlet]*link{lan4: l, lan6: l})
	r.jitter = func(time.Duration) time.Duration { return 0 }
	return r
}

// sent is one packet and when it was sent.
type sent struct {
	at time.Duration // since start
	packet
}

// run lets the responder do what is due until the time is over.
func run(r *responder, until time.Time) (out []sent) {
	for at := r.next(); !at.After(until); at = r.next() {
		for _, p := range r.tick(at) {
			out = append(out, sent{at.Sub(start), p})
		}
	}
	return out
}

// established returns a responder that has announced itself, and the time.
func established(t testing.TB, info Info) (*responder, time.Time) {
	t.Helper()
	r := newTestResponder(t, info)
	now := start.Add(time.Hour)
	run(r, now)
	return r, now
}

// describe lists the records as "NAME TYPE DATA TTL", unique ones with a "!".
func describe(list []dnsmessage.Resource) []string {
	var out []string
	for _, r := range list {
		s := r.Header.Name.String() + " "
		switch b := r.Body.(type) {
		case *dnsmessage.PTRResource:
			s += "PTR " + b.PTR.String()
		case *dnsmessage.SRVResource:
			s += "SRV " + b.Target.String() + ":" + netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port).String()[8:]
		case *dnsmessage.TXTResource:
			s += "TXT " + strings.Join(b.TXT, "|")
		case *dnsmessage.AResource:
			s += "A " + netip.AddrFrom4(b.A).String()
		case *dnsmessage.AAAAResource:
			s += "AAAA " + netip.AddrFrom16(b.AAAA).String()
		}
		s += " " + (time.Duration(r.Header.TTL) * time.Second).String()
		if r.Header.Class&flagCacheFlush != 0 {
			s += "!"
		}
		out = append(out, s)
	}
	return out
}

func wantRecords(t *testing.T, what string, got []dnsmessage.Resource, want ...string) {
	t.Helper()
	if !slices.Equal(describe(got), want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(describe(got), "\n"), strings.Join(want, "\n"))
	}
}

func TestResponderProbesAndAnnounces(t *testing.T) {
	info := newInfo(t, "Küche")
	r := newTestResponder(t, info)
	log := run(r, start.Add(time.Hour))
	var times []time.Duration
	for i, p := range log {
		if p.to.IsValid() {
			t.Errorf("packet %d goes to %v", i, p.to)
		}
		if i%2 == 0 {
			times = append(times, p.at)
		} else if log[i].at != log[i-1].at || log[i].on == log[i-1].on {
			t.Errorf("packets %d and %d do not go to both outlets", i-1, i)
		}
	}
	const ms = time.Millisecond
	want := []time.Duration{0, 250 * ms, 500 * ms, 750 * ms, 1750 * ms, 3750 * ms}
	if !slices.Equal(times, want) {
		t.Fatalf("sent at %v, want %v", times, want)
	}
	const instance = "Küche._latchkey._udp.local."
	host := "latchkey-" + info.Key.String()[:20] + ".local."
	probe := mustParse(t, log[0].b)
	if probe.response || len(probe.questions) != 1 || probe.questions[0] != question(instance, dnsmessage.TypeALL) {
		t.Errorf("probe asks %+v", probe.questions)
	}
	wantRecords(t, "probe claims", probe.authorities, instance+" SRV "+host+":5690 2m0s")
	announcement := mustParse(t, log[6].b)
	if !announcement.response || len(announcement.questions) != 0 {
		t.Errorf("announcement asks %+v", announcement.questions)
	}
	wantRecords(t, "announcement", announcement.answers,
		"_latchkey._udp.local. PTR "+instance+" 1h15m0s",
		instance+" SRV "+host+":5690 2m0s!",
		instance+" TXT v=1|id=acme/lamp-7|name=Küche|k="+info.Key.String()+" 1h15m0s!",
		host+" A 192.0.2.1 2m0s!",
		host+" AAAA 2001:db8::1 2m0s!",
		host+" AAAA fe80::1 2m0s!",
		"_services._dns-sd._udp.local. PTR _latchkey._udp.local. 1h15m0s",
	)
}

func TestResponderGoodbye(t *testing.T) {
	info := newInfo(t, "Lamp")
	r := newTestResponder(t, info)
	if got := r.goodbye(); got != nil {
		t.Errorf("goodbye before anything was announced: %d packets", len(got))
	}
	run(r, start.Add(time.Hour))
	got := r.goodbye()
	if len(got) != 2 {
		t.Fatalf("goodbye is %d packets, want one on each outlet", len(got))
	}
	host := hostName(info.Key)
	wantRecords(t, "goodbye", mustParse(t, got[0].b).answers,
		"_latchkey._udp.local. PTR Lamp._latchkey._udp.local. 0s",
		"Lamp._latchkey._udp.local. SRV "+host+":5690 0s!",
		"Lamp._latchkey._udp.local. TXT v=1|id=acme/lamp-7|name=Lamp|k="+info.Key.String()+" 0s!",
		host+" A 192.0.2.1 0s!",
		host+" AAAA 2001:db8::1 0s!",
		host+" AAAA fe80::1 0s!",
	)
}

func TestResponderAnnouncesOnlyWhereItListens(t *testing.T) {
	for _, tt := range []struct {
		listen string
		want   []string // addresses in the announcement
	}{
		{"192.0.2.1:5690", []string{"192.0.2.1"}},
		{"[2001:db8::1]:5690", []string{"2001:db8::1"}},
		{"[fe80::1%lan0]:5690", []string{"fe80::1"}},
		{"0.0.0.0:5690", []string{"192.0.2.1"}},
		{"[::]:5690", []string{"2001:db8::1", "fe80::1"}},
		{"192.0.2.2:5690", nil},
		{"127.0.0.1:5690", nil},
	} {
		info := newInfo(t, "Lamp")
		info.Addrs = []netip.AddrPort{netip.MustParseAddrPort(tt.listen)}
		r := newTestResponder(t, info)
		var got []string
		for _, p := range run(r, start.Add(time.Hour)) {
			m := mustParse(t, p.b)
			if !m.response || p.on != lan4 {
				continue
			}
			got = nil
			for _, s := range describe(m.answers) {
				if f := strings.Fields(s); f[1] == "A" || f[1] == "AAAA" {
					got = append(got, f[2])
				}
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("listening on %s: announced %v, want %v", tt.listen, got, tt.want)
		}
	}
}

func TestResponderAnswers(t *testing.T) {
	info := newInfo(t, "Lamp")
	instance, host := "Lamp."+serviceName, hostName(info.Key)
	for _, tt := range []struct {
		name string
		typ  dnsmessage.Type
		want bool
	}{
		{serviceName, dnsmessage.TypePTR, true},
		{strings.ToUpper(serviceName), dnsmessage.TypePTR, true},
		{serviceName, dnsmessage.TypeALL, true},
		{metaName, dnsmessage.TypePTR, true},
		{instance, dnsmessage.TypeSRV, true},
		{"lAMP." + serviceName, dnsmessage.TypeTXT, true},
		{instance, dnsmessage.TypeALL, true},
		{host, dnsmessage.TypeA, true},
		{host, dnsmessage.TypeAAAA, true},
		{serviceName, dnsmessage.TypeSRV, false},
		{instance, dnsmessage.TypePTR, false},
		{"Other." + serviceName, dnsmessage.TypeSRV, false},
		{"_http._tcp.local.", dnsmessage.TypePTR, false},
		{"local.", dnsmessage.TypeALL, false},
		{"other.local.", dnsmessage.TypeA, false},
	} {
		r, now := established(t, info)
		m := &message{questions: []dnsmessage.Question{question(tt.name, tt.typ)}}
		if out := r.handle(now, m, lan4, neighbour); out != nil {
			t.Errorf("%s %v: answered at once", tt.name, tt.typ)
		}
		out := run(r, now.Add(time.Minute))
		if !tt.want {
			if len(out) != 0 {
				t.Errorf("%s %v: answered", tt.name, tt.typ)
			}
			continue
		}
		if len(out) != 1 || out[0].on != lan4 || out[0].to.IsValid() || out[0].at != now.Add(answerDelay).Sub(start) {
			t.Errorf("%s %v: sent %+v, want one multicast after %v", tt.name, tt.typ, out, answerDelay)
		}
	}
}

func TestResponderIgnores(t *testing.T) {
	info := newInfo(t, "Lamp")
	ask := question(serviceName, dnsmessage.TypePTR)
	chaos := ask
	chaos.Class = 3
	for name, tt := range map[string]struct {
		m  message
		on outlet
	}{
		"a response with the question": {message{response: true, questions: []dnsmessage.Question{ask}}, lan4},
		"another class":                {message{questions: []dnsmessage.Question{chaos}}, lan4},
		"a link that is gone":          {message{questions: []dnsmessage.Question{ask}}, outlet{index: 9}},
		"who knows the answer": {message{questions: []dnsmessage.Question{ask}, answers: []dnsmessage.Resource{
			record(serviceName, ttlOther/2, ptr("Lamp."+serviceName)),
		}}, lan4},
	} {
		r, now := established(t, info)
		if out := r.handle(now, &tt.m, tt.on, neighbour); out != nil || len(run(r, now.Add(time.Minute))) != 0 {
			t.Errorf("answered %s", name)
		}
	}
	r, now := established(t, info)
	stale := message{questions: []dnsmessage.Question{ask}, answers: []dnsmessage.Resource{record(serviceName, ttlOther/2-1, ptr("Lamp."+serviceName))}}
	if r.handle(now, &stale, lan4, neighbour); len(run(r, now.Add(time.Minute))) != 1 {
		t.Error("did not answer who will soon forget the answer")
	}
}

// However often it is asked, a responder multicasts once a second on an outlet,
// and a prober is answered in time.
func TestResponderAnswersSeldom(t *testing.T) {
	info := newInfo(t, "Lamp")
	r, now := established(t, info)
	m := &message{questions: []dnsmessage.Question{question(serviceName, dnsmessage.TypePTR)}}
	count := 0
	for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		r.handle(now, m, lan4, neighbour)
		count += len(r.tick(now))
	}
	if count < 9 || count > 11 {
		t.Errorf("%d answers in ten seconds, want one a second", count)
	}
	asked := now
	r.answers[lan4] = answer{last: now}
	r.handle(now, &message{
		questions:   []dnsmessage.Question{question("Lamp."+serviceName, dnsmessage.TypeALL)},
		authorities: []dnsmessage.Resource{record("Lamp."+serviceName, ttlHost, srv("other.local.", 1))},
	}, lan4, neighbour)
	if wait := r.next().Sub(asked); wait != 250*time.Millisecond {
		t.Errorf("a prober waits %v for its answer, want 250ms", wait)
	}
}

func TestResponderLegacy(t *testing.T) {
	info := newInfo(t, "Lamp")
	resolver := netip.MustParseAddrPort("192.0.2.77:40000")
	r, now := established(t, info)
	ask := &message{id: 0x4a4b, questions: []dnsmessage.Question{question(serviceName, dnsmessage.TypePTR)}}
	out := r.handle(now, ask, lan4, resolver)
	if len(out) != 1 || out[0].to != resolver || out[0].on != lan4 {
		t.Fatalf("answered %+v, want one packet to %v", out, resolver)
	}
	m := mustParse(t, out[0].b)
	if m.id != ask.id || !m.response || !slices.Equal(m.questions, ask.questions) {
		t.Errorf("answer has id %#x and questions %v", m.id, m.questions)
	}
	for _, s := range describe(m.answers) {
		if strings.HasSuffix(s, "!") || !strings.HasSuffix(s, " 10s") {
			t.Errorf("record %q: want no cache-flush bit and 10s", s)
		}
	}
	if len(m.answers) != 6 {
		t.Errorf("answer is\n%s", strings.Join(describe(m.answers), "\n"))
	}
	types := &message{questions: []dnsmessage.Question{question(metaName, dnsmessage.TypePTR)}}
	wantRecords(t, "types", mustParse(t, r.handle(now, types, lan4, resolver)[0].b).answers, metaName+" PTR "+serviceName+" 10s")
	if len(run(r, now.Add(time.Minute))) != 0 {
		t.Error("a plain resolver's question was answered by multicast, too")
	}
	now = now.Add(time.Minute)
	answers := 0
	for range 1000 {
		answers += len(r.handle(now, ask, lan4, resolver))
	}
	if answers != maxLegacy {
		t.Errorf("%d answers in a second, want %d", answers, maxLegacy)
	}
	if len(r.handle(now.Add(time.Second), ask, lan4, resolver)) != 1 {
		t.Error("no answer in the next second")
	}
}

func TestResponderConflicts(t *testing.T) {
	const instance = "Lamp." + serviceName
	claim := record(instance, ttlHost, srv("other.local.", 5690))
	answer := message{response: true, answers: []dnsmessage.Resource{claim}}
	probe := message{questions: []dnsmessage.Question{question(instance, dnsmessage.TypeALL)}, authorities: []dnsmessage.Resource{claim}}
	for _, tt := range []struct {
		name    string
		after   time.Duration
		m       message
		renamed bool
	}{
		{"taken while probing", 300 * time.Millisecond, answer, true},
		{"probed by another at the same time", 300 * time.Millisecond, probe, true},
		{"claimed later", time.Minute, answer, true},
		{"probed by another later", time.Minute, probe, false},
		{"goodbye of another", time.Minute, message{response: true, answers: []dnsmessage.Resource{record(instance, 0, srv("other.local.", 5690))}}, false},
		{"another name", 300 * time.Millisecond, message{response: true, answers: []dnsmessage.Resource{record("Lamps."+serviceName, ttlHost, srv("other.local.", 1))}}, false},
	} {
		info := newInfo(t, "Lamp")
		r := newTestResponder(t, info)
		now := start.Add(tt.after)
		run(r, now)
		if out := r.handle(now, &tt.m, lan4, neighbour); out != nil {
			t.Errorf("%s: sent at once %+v", tt.name, out)
		}
		want := instance
		if tt.renamed {
			want = "Lamp " + info.Key.Short() + "." + serviceName
		}
		if r.instance() != want {
			t.Errorf("%s: name is %q, want %q", tt.name, r.instance(), want)
		}
		if !tt.renamed {
			continue
		}
		if r.goodbye() != nil {
			t.Errorf("%s: says goodbye to a name that it has not announced", tt.name)
		}
		log := run(r, now.Add(time.Hour))
		if len(log) != 2*(probes+announcements) {
			t.Errorf("%s: %d packets follow, want probes and announcements again", tt.name, len(log))
		}
		for _, p := range log {
			for _, rec := range mustParse(t, p.b).answers {
				if rec.Header.TTL == 0 {
					t.Errorf("%s: took the other's name off the network", tt.name)
				}
			}
		}
		// Nobody can make it rename itself again.
		claim := record(want, ttlHost, srv("other.local.", 5690))
		r.handle(now.Add(time.Hour), &message{response: true, answers: []dnsmessage.Resource{claim}}, lan4, neighbour)
		if log := run(r, now.Add(2*time.Hour)); r.instance() != want || len(log) != 0 {
			t.Errorf("%s: a second conflict made it %q and sent %d packets", tt.name, r.instance(), len(log))
		}
	}
}

// What the group sends back of our own packets is no conflict.
func TestResponderHearsItself(t *testing.T) {
	r := newTestResponder(t, newInfo(t, "Lamp"))
	for at := r.next(); at.Before(start.Add(time.Minute)); at = r.next() {
		for _, p := range r.tick(at) {
			if out := r.handle(at, mustParse(t, p.b), p.on, neighbour); out != nil {
				t.Errorf("answered itself with %+v", out)
			}
		}
	}
	if r.renamed {
		t.Error("renamed because of its own packets")
	}
}

func TestResponderRename(t *testing.T) {
	r, now := established(t, newInfo(t, "Lamp"))
	out := r.rename(now, "Light")
	if len(out) != 2 || mustParse(t, out[0].b).answers[0].Header.TTL != 0 {
		t.Errorf("rename sent %d packets, want a goodbye on each outlet", len(out))
	}
	log := run(r, now.Add(time.Hour))
	if len(log) != 2*(probes+announcements) {
		t.Errorf("%d packets follow, want probes and announcements", len(log))
	}
	if last := describe(mustParse(t, log[len(log)-1].b).answers); last[0] != "_latchkey._udp.local. PTR Light._latchkey._udp.local. 1h15m0s" {
		t.Errorf("announced %s", last[0])
	}
	// Names that differ only in what a label cannot hold share one.
	now = now.Add(time.Hour)
	r, _ = established(t, newInfo(t, "v1.2"))
	if out := r.rename(now, "v1-2"); out != nil {
		t.Errorf("said goodbye to a name that stays")
	}
	log = run(r, now.Add(time.Hour))
	if len(log) != 2*announcements || !strings.Contains(strings.Join(describe(mustParse(t, log[0].b).answers), "\n"), "|name=v1-2|") {
		t.Errorf("%d packets follow, want announcements of the new text", len(log))
	}
}

func TestResponderRelink(t *testing.T) {
	r, now := established(t, newInfo(t, "Lamp"))
	m := &message{questions: []dnsmessage.Question{question(serviceName, dnsmessage.TypePTR)}}
	r.handle(now, m, lan4, neighbour)
	other := newLink(4, 0, "198.51.100.1/24")
	r.relink(now, map[outlet]*link{{index: 4}: other})
	log := run(r, now.Add(time.Hour))
	if len(log) != probes+announcements {
		t.Errorf("%d packets on the new link, want probes and announcements", len(log))
	}
	for _, p := range log {
		if p.on.index != 4 {
			t.Errorf("sent on %+v", p.on)
		}
	}
	if keys := slices.Collect(maps.Keys(r.answers)); len(keys) != 1 {
		t.Errorf("keeps answers for %v", keys)
	}
}

// Whatever is asked, a responder holds state for its outlets and nothing else.
func FuzzResponder(f *testing.F) {
	info := newInfo(f, "Lamp")
	probe := newTestResponder(f, info)
	f.Add(probe.probe(), uint16(5353))
	f.Add(probe.response(lan(), ttlOther), uint16(5353))
	f.Add(pack(dnsmessage.Message{Questions: []dnsmessage.Question{question(serviceName, dnsmessage.TypePTR)}}), uint16(40000))
	f.Fuzz(func(t *testing.T, b []byte, port uint16) {
		m, ok := parse(b)
		if !ok {
			return
		}
		if len(m.questions) > maxQuestions || len(m.answers)+len(m.authorities) > maxRecords {
			t.Fatalf("%d questions, %d answers, %d authorities", len(m.questions), len(m.answers), len(m.authorities))
		}
		r, now := established(t, info)
		from := netip.AddrPortFrom(neighbour.Addr(), port)
		for range 3 {
			for _, p := range r.handle(now, &m, lan4, from) {
				if p.to != from || len(p.b) > maxDatagram {
					t.Errorf("sent %d bytes to %v", len(p.b), p.to)
				}
			}
		}
		if len(r.answers) > 2 || len(run(r, now.Add(time.Minute))) > 2*(probes+announcements) {
			t.Error("one datagram made too much work")
		}
	})
}
