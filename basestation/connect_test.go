package basestation

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// upload gives the basestation a device's tokens, each for anybody.
func (p *peer) upload(version uint64, tokens ...latchkey.ConnectToken) {
	p.t.Helper()
	m := &signal.Tokens{Version: version}
	for _, t := range tokens {
		m.List = append(m.List, signal.Token{Hash: t.Hash().Sum()})
	}
	wants(p.t, p.do(coap.PUT, signal.PathTokens, m), coap.Changed, 0, nil)
}

// introduced answers the next introduction as a device does.
func (p *peer) introduced(session signal.SessionID) signal.Introduce {
	p.t.Helper()
	var m signal.Introduce
	q := p.next(signal.PathIntroduce, &m)
	if m.Session != session {
		p.t.Fatalf("session %v, want %v", m.Session, session)
	}
	q.reply(p.t, coap.Created, &signal.Introduced{Offer: p.offer(signal.RoleDevice, session, m.Offer.Device)})
	return m
}

func TestConnect(t *testing.T) {
	b := newBase(t, func(s *Server) { s.PublicAddrs = []string{"203.0.113.5:5684"} })
	key := b.register(gateway)
	for name, connect := range map[string]func(*latchkey.Identity) *peer{"udp": b.connectUDP, "tls": b.connectTLS} {
		t.Run(name, func(t *testing.T) {
			token := latchkey.NewConnectToken()
			device := connect(key)
			version := device.attach(gateway).TokensVersion
			device.upload(version+1, token)
			client := connect(newIdentity(t))
			request := client.request(gateway, token)
			session := request.Offer.Session
			var connected signal.Connected
			wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &connected)
			if connected.Session != session || connected.Relay == nil || connected.Waiting || len(connected.Servers) != 1 {
				t.Fatalf("%+v", connected)
			}

			// A candidate that comes before the device's answer waits for it.
			early := &signal.Candidates{Session: session, List: []string{"candidate:2"}}
			wants(t, client.do(coap.POST, signal.PathCandidates, early), coap.Changed, 0, nil)

			introduce := device.introduced(session)
			if introduce.Client != client.key.Fingerprint() || introduce.Relay == nil ||
				introduce.Relay.Self != connected.Relay.Peer || introduce.Relay.Peer != connected.Relay.Self {
				t.Errorf("introduce %+v beside %+v", introduce, connected)
			}
			if f, err := introduce.Offer.Verify(signal.RoleClient, session, gateway); err != nil || f != client.key.Fingerprint() {
				t.Errorf("offer of %v, %v", f, err)
			}
			var trickled signal.Candidates
			device.next(signal.PathCandidates, &trickled).reply(t, coap.Changed, nil)
			if len(trickled.List) != 1 || trickled.List[0] != "candidate:2" {
				t.Errorf("%+v", trickled)
			}

			late := &signal.Candidates{Session: session, List: []string{"candidate:3"}, Last: true}
			wants(t, device.do(coap.POST, signal.PathCandidates, late), coap.Changed, 0, nil)
			var answer signal.Answer
			client.next(signal.PathAnswer, &answer).reply(t, coap.Changed, nil)
			if answer.Offer == nil || answer.Code != 0 {
				t.Fatalf("%+v", answer)
			}
			if f, err := answer.Offer.Verify(signal.RoleDevice, session, gateway); err != nil || f != key.Fingerprint() {
				t.Errorf("offer of %v, %v", f, err)
			}
			client.next(signal.PathCandidates, &trickled).reply(t, coap.Changed, nil)
			if trickled.List[0] != "candidate:3" || !trickled.Last {
				t.Errorf("%+v", trickled)
			}

			stranger := b.connectUDP(newIdentity(t))
			leave := &signal.Leave{Session: session}
			wants(t, stranger.do(coap.POST, signal.PathLeave, leave), coap.NotFound, latchkey.CodeNotFound, nil)
			wants(t, stranger.do(coap.POST, signal.PathCandidates, late), coap.NotFound, latchkey.CodeNotFound, nil)
			wants(t, device.do(coap.POST, signal.PathLeave, leave), coap.Changed, 0, nil)
			wants(t, client.do(coap.POST, signal.PathLeave, leave), coap.NotFound, latchkey.CodeNotFound, nil)
			if s, _ := b.Status(); s.Introductions != 0 || s.Relay.Grants != 0 {
				t.Errorf("left over: %+v", s)
			}
			device.end()
		})
	}
	if n := len(b.kind(EventIntroduced)); n != 2 {
		t.Errorf("%d introductions recorded", n)
	}
}

// ready returns a device that is attached, and a client with a token for it.
func ready(t *testing.T, b *base) (device, client *peer, token latchkey.ConnectToken) {
	t.Helper()
	token = latchkey.NewConnectToken()
	device = b.connectUDP(b.register(gateway))
	device.attach(gateway)
	device.upload(1, token)
	return device, b.connectUDP(newIdentity(t)), token
}

func TestDeviceRefuses(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	thief := newPeer(t, newIdentity(t))
	for name, c := range map[string]struct {
		answer func(q question, session signal.SessionID)
		want   latchkey.Code
	}{
		"too many": {func(q question, _ signal.SessionID) {
			a := coap.NewResponse(coap.TooManyRequests)
			coap.SetCode(a, latchkey.CodeTooMany)
			q.answer <- a
		}, latchkey.CodeTooMany},
		"without a code": {func(q question, _ signal.SessionID) { q.answer <- coap.NewResponse(coap.Forbidden) }, latchkey.CodeForbidden},
		"no message":     {func(q question, _ signal.SessionID) { q.answer <- coap.NewResponse(coap.Created) }, latchkey.CodeProtocol},
		"offer of another key": {func(q question, s signal.SessionID) {
			q.reply(t, coap.Created, &signal.Introduced{Offer: thief.offer(signal.RoleDevice, s, gateway)})
		}, latchkey.CodeProtocol},
		"offer for another session": {func(q question, _ signal.SessionID) {
			q.reply(t, coap.Created, &signal.Introduced{Offer: device.offer(signal.RoleDevice, newSession(), gateway)})
		}, latchkey.CodeProtocol},
	} {
		request := client.request(gateway, token)
		wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
		c.answer(device.next(signal.PathIntroduce, &signal.Introduce{}), request.Offer.Session)
		var answer signal.Answer
		client.next(signal.PathAnswer, &answer).reply(t, coap.Changed, nil)
		if answer.Offer != nil || answer.Code != c.want {
			t.Errorf("%s: %+v, want code %d", name, answer, c.want)
		}
	}
	until(t, "nothing is left", func() bool { s, _ := b.Status(); return s.Introductions == 0 && s.Relay.Grants == 0 })
}

func TestClientRefuses(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	request := client.request(gateway, token)
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
	device.introduced(request.Offer.Session)
	client.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.NotFound, nil)
	until(t, "nothing is left", func() bool { s, _ := b.Status(); return s.Introductions == 0 && s.Relay.Grants == 0 })
}

func TestDeviceGoesAway(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
	device.next(signal.PathIntroduce, &signal.Introduce{})
	device.end()
	var answer signal.Answer
	client.next(signal.PathAnswer, &answer).reply(t, coap.Changed, nil)
	if answer.Code != latchkey.CodeOffline {
		t.Errorf("%+v", answer)
	}
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.ServiceUnavailable, latchkey.CodeOffline, nil)
}

func TestWait(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	device.end()
	until(t, "the device is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
	request := client.request(gateway, token)
	request.Wait = true
	var connected signal.Connected
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &connected)
	if !connected.Waiting || connected.Relay != nil {
		t.Errorf("%+v", connected)
	}
	again := client.request(gateway, token)
	again.Wait = true
	wants(t, client.do(coap.POST, signal.PathConnect, again), coap.TooManyRequests, latchkey.CodeTooMany, nil)

	device = b.connectUDP(device.key)
	device.attach(gateway)
	introduce := device.introduced(request.Offer.Session)
	var answer signal.Answer
	client.next(signal.PathAnswer, &answer).reply(t, coap.Changed, nil)
	if answer.Offer == nil || answer.Relay == nil || answer.Relay.Peer != introduce.Relay.Self {
		t.Errorf("%+v beside %+v", answer, introduce)
	}
}

func TestWaitEnds(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.WaitMax = 50 * time.Millisecond })
	device, client, token := ready(t, b)
	device.end()
	until(t, "the device is gone", func() bool { s, _ := b.Status(); return s.Devices == 0 })
	request := client.request(gateway, token)
	request.Wait = true
	for range 2 { // and may begin again
		request.Offer = client.offer(signal.RoleClient, newSession(), gateway)
		wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
		var answer signal.Answer
		client.next(signal.PathAnswer, &answer).reply(t, coap.Changed, nil)
		if answer.Code != latchkey.CodeOffline {
			t.Errorf("%+v", answer)
		}
	}
	until(t, "nobody waits", func() bool { s, _ := b.Status(); return s.Waiting == 0 && s.Introductions == 0 })
}

// TestReattach lets a device come back in the middle of an introduction.
func TestReattach(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	request := client.request(gateway, token)
	session := request.Offer.Session
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
	device.introduced(session)
	client.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.Changed, nil)
	device.end()
	device = b.connectTLS(device.key)
	device.attach(gateway)
	wants(t, client.do(coap.POST, signal.PathCandidates, &signal.Candidates{Session: session, List: []string{"candidate:9"}}), coap.Changed, 0, nil)
	device.next(signal.PathCandidates, &signal.Candidates{}).reply(t, coap.Changed, nil)
	wants(t, device.do(coap.POST, signal.PathLeave, &signal.Leave{Session: session}), coap.Changed, 0, nil)
}

// TestTwoConnections sends what is for a client by the connection that asked, by
// another one of the same key if that has ended or refuses, and by the one that
// the client uses itself.
func TestTwoConnections(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	newer := b.connectTLS(client.key) // perhaps another process of the same user
	until(t, "both are there", func() bool { s, _ := b.Status(); return s.Peers == 3 })
	request := client.request(gateway, token)
	session := request.Offer.Session
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
	device.introduced(session)
	client.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.Changed, nil)
	candidates := &signal.Candidates{Session: session, List: []string{"candidate:1"}}
	trickle := func(to *peer, code coap.Code) {
		t.Helper()
		wants(t, device.do(coap.POST, signal.PathCandidates, candidates), coap.Changed, 0, nil)
		to.next(signal.PathCandidates, &signal.Candidates{}).reply(t, code, nil)
	}
	trickle(client, coap.Changed)
	trickle(client, coap.NotFound)
	newer.next(signal.PathCandidates, &signal.Candidates{}).reply(t, coap.Changed, nil)
	trickle(newer, coap.Changed) // which took it before
	wants(t, client.do(coap.POST, signal.PathCandidates, candidates), coap.Changed, 0, nil)
	device.next(signal.PathCandidates, &signal.Candidates{}).reply(t, coap.Changed, nil)
	trickle(client, coap.Changed) // which spoke last
	client.end()
	until(t, "one is gone", func() bool { s, _ := b.Status(); return s.Peers == 2 })
	trickle(newer, coap.Changed)
}

// TestAnswerElsewhere brings the answer to a client that has come back by another
// connection.
func TestAnswerElsewhere(t *testing.T) {
	b := newBase(t, nil)
	device, client, token := ready(t, b)
	request := client.request(gateway, token)
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
	other := b.connectUDP(client.key)
	until(t, "both are there", func() bool { s, _ := b.Status(); return s.Peers == 3 })
	device.introduced(request.Offer.Session)
	client.next(signal.PathAnswer, &signal.Answer{}) // and is never answered
	if len(other.asked) != 0 {
		t.Error("the newer connection was asked first")
	}
	client.end()
	other.next(signal.PathAnswer, &signal.Answer{}).reply(t, coap.Changed, nil)
}

func TestConnectLimits(t *testing.T) {
	b := newBase(t, func(s *Server) { s.Limits.PerClient = 2 })
	device, client, token := ready(t, b)
	request := client.request(gateway, token)
	wants(t, client.do(coap.POST, signal.PathConnect, request), coap.Created, 0, &signal.Connected{})
	other := b.connectUDP(newIdentity(t))
	stolen := other.request(gateway, token)
	stolen.Offer = other.offer(signal.RoleClient, request.Offer.Session, gateway)
	wants(t, other.do(coap.POST, signal.PathConnect, stolen), coap.Conflict, latchkey.CodeConflict, nil)
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.Created, 0, &signal.Connected{})
	wants(t, client.do(coap.POST, signal.PathConnect, client.request(gateway, token)), coap.TooManyRequests, latchkey.CodeTooMany, nil)
	device.next(signal.PathIntroduce, &signal.Introduce{})
	device.next(signal.PathIntroduce, &signal.Introduce{})

	// The device itself holds a token of its own, but cannot meet itself.
	wants(t, device.do(coap.POST, signal.PathConnect, device.request(gateway, token)), coap.Conflict, latchkey.CodeConflict, nil)

	// Candidates are counted.
	session := request.Offer.Session
	refused := false
	for range 2*maxTrickle + 1 {
		a := client.do(coap.POST, signal.PathCandidates, &signal.Candidates{Session: session, List: []string{"candidate:1"}})
		refused = refused || a.Code == coap.TooManyRequests
	}
	if !refused {
		t.Error("candidates without end are taken")
	}
}

// TestAbandoned ends introductions of which one side does not come back.
func TestAbandoned(t *testing.T) {
	in := &introduction{}
	start := time.Now()
	for _, step := range []struct {
		after    time.Duration
		complete bool
		want     bool
	}{
		{0, true, false},
		{time.Hour, false, false},
		{time.Hour + linger/2, false, false},
		{time.Hour + linger/2 + 1, true, false},
		{2 * time.Hour, false, false},
		{2*time.Hour + linger, false, true},
	} {
		if got := in.abandoned(step.complete, start.Add(step.after)); got != step.want {
			t.Errorf("after %v: %v", step.after, got)
		}
	}
}

func TestPresenceWait(t *testing.T) {
	p := newPresence()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx, gateway); err == nil || len(p.waiting) != 0 {
		t.Errorf("%v, %d wait", err, len(p.waiting))
	}
	a, b := &leg{}, &leg{}
	if old := p.Put(gateway, a); old != nil {
		t.Errorf("%v was attached", old)
	}
	if got, err := p.Wait(t.Context(), gateway); err != nil || got != Attachment(a) {
		t.Errorf("%v, %v", got, err)
	}
	if old := p.Put(gateway, b); old != Attachment(a) {
		t.Errorf("%v was attached", old)
	}
	p.Remove(gateway, a)
	if got, ok := p.Get(gateway); !ok || got != Attachment(b) {
		t.Error("the end of the older one removed the newer")
	}
	p.Remove(gateway, b)
	if p.Len() != 0 {
		t.Error("it is still there")
	}
}
