package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/pairing"
)

// canaries are secrets by their names.
type canaries map[string]string

// forms are the spellings in which a secret could get somewhere.
func forms(secret string) []string {
	b := []byte(secret)
	return []string{
		secret, hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), fmt.Sprint(b), strings.Trim(fmt.Sprintf("%q", secret), `"`),
	}
}

// in names the secrets that a text holds.
func (c canaries) in(text []byte) (found []string) {
	for name, secret := range c {
		for _, form := range forms(secret) {
			if bytes.Contains(text, []byte(form)) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// absent judges what a place holds. It must be of some size to show something.
func (c canaries) absent(t *testing.T, place string, text []byte, least int) {
	t.Helper()
	if len(text) < least {
		t.Errorf("%s has %d bytes, so this shows nothing", place, len(text))
	}
	for _, name := range c.in(text) {
		t.Errorf("%s holds the %s", place, name)
	}
}

// plant checks that every secret is one, and would be found in every form.
func (c canaries) plant(t *testing.T) {
	t.Helper()
	for name, secret := range c {
		if len(secret) < 8 {
			t.Fatalf("the %s is %d bytes long, so this shows nothing", name, len(secret))
		}
		for _, form := range forms(secret) {
			scratch := []byte("level=DEBUG msg=\"something else\" value=" + form + "\n")
			if found := c.in(scratch); len(found) == 0 {
				t.Fatalf("the %s is not found in a log that holds it", name)
			}
		}
	}
	if found := c.in([]byte("level=DEBUG msg=nothing")); len(found) != 0 {
		t.Fatalf("%v is found in a log that does not hold it", found)
	}
}

// scalar is the secret number of a private key in a file.
func scalar(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is not PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	b, err := key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCanariesOfAccess goes through everything that takes a secret, well and
// badly, and looks for the secrets in all that programs write: logs of every
// level, the audit log, the stores and the metrics.
func TestCanariesOfAccess(t *testing.T) {
	var devices, clients, stations transcript
	n := newNotary(t)
	registryFile := filepath.Join(t.TempDir(), "registry.db")
	store, err := registry.Create(registryFile)
	if err != nil {
		t.Fatal(err)
	}
	info, stopStation := runStation(t, &basestation.Server{Identity: newIdentity(t), Registry: store, Addr: "127.0.0.1:0", Logger: stations.log()}, n)
	dir := filepath.Join(t.TempDir(), "device")
	keyFile := filepath.Join(t.TempDir(), device.KeyFile)
	key, err := latchkey.OpenOrCreateIdentity(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	accessFile := filepath.Join(t.TempDir(), device.AccessFile)
	access, err := acl.Create(accessFile)
	if err != nil {
		t.Fatal(err)
	}
	d := &device.Device{
		Dir: dir, Identity: key, Access: access, ID: gw1, Logger: devices.log(), Pairing: pairing.LocalInitial | pairing.PasswordOpen | pairing.Invite,
		Basestations: []string{info.Addrs[0].String()}, BasestationKey: info.Fingerprint,
		Limits: device.Limits{Refusals: 1000},
	}
	n.takenBy(d)
	s := &site{t: t, store: store, info: info, access: access}
	s.register(gw1, key)
	s.device = serve(t, d)
	s.version(1)
	secrets := canaries{
		"password": "canary-correct-horse", "wrong password": "canary-wrong-horse", "device's private key": scalar(t, keyFile),
	}
	quiet := func() *client.Client {
		c := &client.Client{Dir: filepath.Join(t.TempDir(), "client"), NoDiscovery: true, Logger: clients.log()}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}

	// The device's password, right and wrong, from near and from afar.
	if err := s.device.SetPairingPassword(latchkey.NewSecret(secrets["password"])); err != nil {
		t.Fatal(err)
	}
	away := s.away()
	secrets["bootstrap token"] = away.Token.Reveal()
	for _, password := range []string{"wrong password", "password"} {
		_, err := quiet().Pair(deadline(t), away, client.PairOptions{Alias: "home", User: "gus", Password: latchkey.NewSecret(secrets[password])})
		if (err == nil) != (password == "password") {
			t.Errorf("by the %s: %v", password, err)
		}
	}
	// An owner, who invites.
	owner := quiet()
	pair(t, owner, s.device)
	conn := dial(t, owner)
	made, err := conn.Invite(deadline(t), "ida", acl.RoleUser, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u := made.URL
	s.knows(u.Token, info.Fingerprint)
	secrets["invitation's password"], secrets["invitation's token"] = u.Password.Reveal(), u.Token.Reveal()
	u.Addrs = nil
	wrong := *u
	wrong.Password = latchkey.NewSecret(secrets["wrong password"])
	if _, err := quiet().Pair(deadline(t), &wrong, client.PairOptions{Alias: "home"}); err == nil {
		t.Error("paired by a wrong password")
	}
	ida := quiet()
	if _, err := ida.Pair(deadline(t), u, client.PairOptions{Alias: "home"}); err != nil {
		t.Fatal(err)
	}
	known, err := ida.OpenKnown()
	if err != nil {
		t.Fatal(err)
	}
	home, err := known.Lookup("home")
	if err != nil {
		t.Fatal(err)
	}
	s.knows(home.Token, identityOf(t, ida).Fingerprint()) // soon after the pairing, or a dial would be refused
	secrets["connect token"] = home.Token.Reveal()
	secrets["client's private key"] = scalar(t, filepath.Join(ida.Dir, client.KeyFile))
	// Tokens, good and bad, at the gate and at the device.
	me := identityOf(t, ida)
	for name, life := range map[string]time.Duration{"": time.Hour, "expired ": -time.Hour} {
		gate, login := n.token(t, me, gateAudience, life, nil), n.token(t, me, gw1.String(), life, nil)
		secrets[name+"token of the gate"], secrets[name+"token of the device"] = gate, login
		_, err := ida.DialWith(deadline(t), "home", client.DialOptions{Via: client.ViaRelay, JWT: gate})
		if (err == nil) != (life > 0) {
			t.Errorf("by the %stoken of the gate: %v", name, err)
		}
		for _, token := range []string{gate, login, login[:len(login)-4]} {
			_, _ = conn.Do(deadline(t), &client.Request{Method: client.POST, Path: "/token", Body: []byte(token)})
		}
	}
	// The password of a relayed session.
	token := s.learned(ida)
	await(t, "the gate knows the token", func() bool { return store.Check(gw1, token.Hash(), me.Fingerprint(), time.Now()) == nil })
	peer := s.call(me, "127.0.0.1")
	var got signal.Connected
	if err := signal.Unmarshal(peer.must(coap.POST, signal.PathConnect, peer.connect(gw1, token)).Body, &got); err != nil || got.Relay == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	relayed(t, info.Addrs[0], got.Relay)
	secrets["relay password"] = got.Relay.Password

	metrics := scrape(t, info)
	if err := s.device.stop(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Close()
	_ = ida.Close()
	peer.ends()
	stopStation()
	secrets.plant(t)
	for name, log := range map[string]*transcript{"the device's log": &devices, "the clients' log": &clients, "the basestation's log": &stations} {
		log.mu.Lock()
		secrets.absent(t, name, log.text.Bytes(), 1000)
		log.mu.Unlock()
	}
	secrets.absent(t, "the metrics", metrics, 500)
	_ = access.Close()
	_ = store.Close()
	for name, file := range map[string]string{
		"audit.jsonl": filepath.Join(dir, device.AuditFile), "access.db": accessFile, "registry.db": registryFile,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secrets.absent(t, name, text, 1000)
	}
}

// runStation serves until stop is called, or the test ends.
func runStation(t *testing.T, s *basestation.Server, n *notary) (info basestation.Info, stop func()) {
	t.Helper()
	n.guards(s)
	ready := make(chan basestation.Info, 1)
	s.Ready = func(i basestation.Info) { ready <- i }
	s.Limits.Drain = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		if err := s.ListenAndServe(ctx); err != nil {
			t.Errorf("basestation ended with %v", err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	select {
	case info = <-ready:
	case <-ended:
		t.Fatal("basestation is not ready")
	}
	return info, stop
}

// scrape reads the metrics of a basestation.
func scrape(t *testing.T, info basestation.Info) []byte {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	c := &http.Client{Transport: transport}
	r, err := c.Get("https://" + info.Addrs[0].String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", r.Status, err)
	}
	return text
}
