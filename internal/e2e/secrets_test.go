package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// A transcript is everything that programs write to their logs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *transcript) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *transcript) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
}

// without reports secrets that were written.
func (r *transcript) without(t *testing.T, secrets map[string]string) {
	t.Helper()
	r.mu.Lock()
	text := r.text.String()
	r.mu.Unlock()
	if len(text) < 1000 {
		t.Errorf("only %d bytes were written, so this shows nothing", len(text))
	}
	for name, secret := range secrets {
		if secret == "" {
			t.Errorf("no %s", name)
			continue
		}
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret))} {
			if i := strings.Index(text, form); i >= 0 {
				line := text[strings.LastIndexByte(text[:i], '\n')+1:]
				line, _, _ = strings.Cut(line, "\n")
				t.Errorf("a log has the %s: %s", name, strings.ReplaceAll(line, form, "SECRET"))
			}
		}
	}
}

func (r *transcript) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.text.String(), text)
}

// TestCanary: what goes through a tunnel by way of the relay is nowhere in what
// the basestation receives and sends, and in nobody's log.
func TestCanary(t *testing.T) {
	var logs transcript
	store, info, _ := stationWith(t, func(s *basestation.Server) { s.Logger = logs.log() })
	s := &site{t: t, store: store, info: info, access: newAccess(t), tap: newTap(t, info.Addrs[0])}
	key := newIdentity(t)
	s.register(gw1, key)
	canary := make([]byte, 32)
	_, _ = rand.Read(canary)
	marker := []byte(hex.EncodeToString(canary))
	td, c, conn := owned(t, &device.Device{
		Identity: key, ID: gw1, Access: s.access, Logger: logs.log(),
		Basestations: []string{s.tap.addr.String()}, BasestationKey: info.Fingerprint,
		Services: []device.Service{{ID: "echo", Target: "tcp://" + echo(t, "tcp", "127.0.0.1:0").Addr().String()}},
		Handler:  device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) { _, _ = w.Write(marker) }),
	})
	s.device = td
	_ = conn.Close()
	token := s.learned(c)
	await(t, "the gate knows the owner's token", func() bool {
		return store.Check(gw1, token.Hash(), identityOf(t, c).Fingerprint(), time.Now()) == nil
	})
	away(t, c)
	c = &client.Client{Dir: c.Dir, NoDiscovery: true, Logger: logs.log()}
	defer c.Close()
	far, err := c.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	tunnel, err := far.Tunnel(deadline(t), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	block := bytes.Repeat(marker, 1000)
	go func() { _, _ = tunnel.Write(block) }() // ends with the tunnel
	got := make([]byte, len(block))
	if _, err := io.ReadFull(tunnel, got); err != nil || !bytes.Equal(got, block) {
		t.Fatalf("the tunnel does not give back what it got: %v", err)
	}
	r, err := far.Get(deadline(t), "/canary")
	if err != nil || !bytes.Equal(r.Body, marker) {
		t.Fatalf("%+v, %v", r, err)
	}
	if p := far.Path(); p.Kind != "relay" {
		t.Errorf("path %+v", p)
	}
	found, size := s.tap.carried(marker)
	if half, _ := s.tap.carried(marker[:16]); found || half {
		t.Error("the basestation has seen the canary")
	}
	if size < 4*len(block) { // there and back, each through both ends of the relay
		t.Errorf("%d bytes went by the basestation, so this shows nothing", size)
	}
	if plain, _ := s.tap.carried([]byte(token.Reveal())); plain {
		t.Error("the token was sent in clear")
	}
	logs.without(t, map[string]string{"canary": string(marker), "token": token.Reveal()})
}

// TestSecretsStayOutOfLogs: device, client and basestation write everything they
// ever write, and no secret is in it.
func TestSecretsStayOutOfLogs(t *testing.T) {
	var logs transcript
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLW9mLWEtY2FuYXJ5"
	store := newAccess(t)
	d, td, c := deceived(t, func(dev *device.Device) { dev.Access, dev.Logger = store, logs.log() })
	token, err := td.NewBootstrapToken()
	if err != nil {
		t.Fatal(err)
	}
	away(t, c)
	c = &client.Client{Dir: c.Dir, NoDiscovery: true, Logger: logs.log()}
	defer c.Close()
	seen := d.introduces(td.info.Fingerprint)
	for _, o := range []client.DialOptions{{Via: client.ViaRelay}, {Via: client.ViaDirect}, {JWT: jwt}, {Token: token}} {
		conn, err := c.DialWith(deadline(t), "home", o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Get(deadline(t), "/me"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
	secrets := map[string]string{"JWT": jwt, "bootstrap token": token.Reveal()}
	seen.mu.Lock()
	for i, m := range seen.connects {
		if m.SCT != "" {
			secrets["connect token"] = m.SCT
		}
		secrets["client's ICE password"+string(rune('0'+i))] = m.Offer.Pwd
	}
	for i, o := range seen.answers {
		secrets["device's ICE password"+string(rune('0'+i))] = o.Pwd
	}
	for i, g := range seen.grants {
		secrets["relay password"+string(rune('0'+i))] = g.Password
	}
	seen.mu.Unlock()
	logs.without(t, secrets)
}

// TestBasestationLogsNoSecrets: neither when it lets clients through nor when it
// does not.
func TestBasestationLogsNoSecrets(t *testing.T) {
	var logs transcript
	store, info, server := stationWith(t, func(s *basestation.Server) { s.Logger = logs.log() })
	s := &site{t: t, store: store, info: info, server: server, access: newAccess(t), tap: newTap(t, info.Addrs[0])}
	key := newIdentity(t)
	s.register(gw1, key)
	td, c, conn := owned(t, &device.Device{
		Identity: key, ID: gw1, Access: s.access, Basestations: []string{info.Addrs[0].String()}, BasestationKey: info.Fingerprint,
	})
	s.device = td
	_ = conn.Close()
	token := s.learned(c)
	await(t, "the gate knows the owner's token", func() bool {
		return store.Check(gw1, token.Hash(), identityOf(t, c).Fingerprint(), time.Now()) == nil
	})
	peer := s.call(identityOf(t, c), "127.0.0.1")
	answer := peer.must(coap.POST, signal.PathConnect, peer.connect(gw1, token))
	var got signal.Connected
	if err := signal.Unmarshal(answer.Body, &got); err != nil || got.Relay == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	stranger := newIdentity(t)
	thief := s.call(stranger, "127.0.0.1")
	thief.must(coap.POST, signal.PathConnect, thief.connect(gw1, token))
	const jwt = "eyJhbGciOiJub25lIn0.eyJkZXZpY2VzIjpbImFjbWUvKiJdfQ.Y2FuYXJ5"
	m := thief.connect(gw1, token)
	m.SCT, m.JWT = "", jwt
	thief.must(coap.POST, signal.PathConnect, m)
	relayed(t, info.Addrs[0], got.Relay)
	// The owner may have been refused, too, before the gate knew the token.
	list := slices.DeleteFunc(s.events(basestation.EventGateRefused), func(e basestation.Event) bool { return e.Key != stranger.Fingerprint() })
	if len(list) != 2 {
		t.Errorf("%+v", list)
	}
	logs.without(t, map[string]string{"token": token.Reveal(), "JWT": jwt, "relay password": got.Relay.Password})
}

// TestClockOfTheBasestation: a basestation whose clock is off by a year is told
// from others, and nothing else changes: keys are pinned, not dated.
func TestClockOfTheBasestation(t *testing.T) {
	for name, off := range map[string]time.Duration{"ahead": 366 * 24 * time.Hour, "behind": -366 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			var logs transcript
			d := newDouble(t)
			d.on(signal.PathAttach, d.attached(func() time.Time { return time.Now().Add(off) }))
			td, c, conn := owned(t, &device.Device{
				Identity: newIdentity(t), ID: gw1, Logger: logs.log(),
				Basestations: []string{d.addr.String()}, BasestationKey: d.identity.Fingerprint(),
			})
			defer c.Close()
			defer conn.Close()
			await(t, "attached all the same", func() bool {
				status, err := td.Status()
				return err == nil && status.Attach.State == "attached"
			})
			await(t, "a line about clocks", func() bool { return logs.has("event=clock") })
			d.introduces(td.info.Fingerprint)
			if _, err := conn.Get(deadline(t), "/me"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClockOfTheDevice: a device whose clock is off by a year attaches with its
// pinned key, and the operator is told.
func TestClockOfTheDevice(t *testing.T) {
	store, info, server := stationWith(t, func(*basestation.Server) {})
	s := &site{t: t, store: store, info: info, server: server}
	key := newIdentity(t)
	s.register(gw1, key)
	for _, off := range []time.Duration{366 * 24 * time.Hour, -366 * 24 * time.Hour, -56 * 365 * 24 * time.Hour} {
		c := s.call(key, "127.0.0.1")
		at := time.Now().Add(off)
		if at.Before(time.Unix(1, 0)) {
			at = time.Unix(1, 0) // a clock that was never set
		}
		if answer := c.must(coap.POST, signal.PathAttach, &signal.Attach{ID: gw1, Version: "1", Time: at}); answer.Code != coap.Created {
			t.Errorf("off by %v: %v", off, answer.Code)
		}
	}
	list := s.events(basestation.EventClock)
	if len(list) != 3 {
		t.Fatalf("%+v", list)
	}
	for _, e := range list {
		if !strings.Contains(e.Reason, "clock is off by") {
			t.Errorf("reason %q", e.Reason)
		}
	}
}
