package device

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/roster"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// Connect tokens open the basestation's gate to this device and nothing else.
// There are three kinds. Each paired key has one of its own, which the gate takes
// from that key alone; it is made from a secret of the device and the key, so
// it is stored nowhere. An invitation has one, made alike from its id: whoever
// holds it may use it a few times, as long as the invitation holds. A bootstrap
// token is in a pairing URL: whoever holds it may use it a few times, until
// somebody has paired.

// Settings in the access store.
const (
	settingSecret    = "connect-secret"   // base64url of the secret
	settingBootstrap = "bootstrap-tokens" // JSON list of bootstrap
)

const (
	bootstrapUses  = 10
	bootstrapLife  = 24 * time.Hour
	bootstrapCount = 16 // at once; the oldest goes first
	uploadAgain    = 5 * time.Second
)

// A bootstrap is a token of a pairing URL, as its hash.
type bootstrap struct {
	Hash    string    `json:"hash"` // base64url of the SHA-256
	Expires time.Time `json:"expires"`
}

// connectSecret returns the secret that tokens are made from, made on first
// use.
func connectSecret(store *acl.Store) ([]byte, error) {
	var secret []byte
	read := func(tx *acl.Tx) error {
		text, ok := tx.Setting(settingSecret)
		if !ok {
			return nil
		}
		var err error
		secret, err = base64.RawURLEncoding.DecodeString(text)
		return err
	}
	if err := store.View(read); err != nil || secret != nil {
		return secret, err
	}
	err := store.Update(func(tx *acl.Tx) error {
		if err := read(tx); err != nil || secret != nil {
			return err
		}
		fresh := make([]byte, sha256.Size)
		_, _ = rand.Read(fresh) // never fails (crypto/rand)
		secret = fresh
		return tx.SetSetting(settingSecret, base64.RawURLEncoding.EncodeToString(fresh))
	})
	return secret, err
}

// tokenFor is the connect token of a paired key.
func tokenFor(secret []byte, key latchkey.Fingerprint) (latchkey.ConnectToken, error) {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("latchkey connect token\x00"))
	text, err := key.MarshalText()
	if err != nil {
		return latchkey.ConnectToken{}, err
	}
	mac.Write(text)
	return latchkey.ParseConnectToken(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]))
}

// NewBootstrapToken makes a connect token for a pairing URL. The basestation
// takes it from anybody, ten times within 24 hours, as long as nobody has paired
// since; only its hash is kept.
func (d *Device) NewBootstrapToken() (latchkey.ConnectToken, error) {
	s, err := d.serving()
	if err != nil {
		return latchkey.ConnectToken{}, err
	}
	if s.access == nil {
		return latchkey.ConnectToken{}, errors.New("device: connect tokens need a store")
	}
	return AddBootstrapToken(s.access)
}

// AddBootstrapToken does the same in the store of a device that does not serve.
func AddBootstrapToken(store *acl.Store) (latchkey.ConnectToken, error) {
	token := latchkey.NewConnectToken()
	sum := sha256.Sum256([]byte(token.Reveal()))
	now := time.Now()
	err := store.Update(func(tx *acl.Tx) error {
		list := slices.DeleteFunc(bootstraps(tx), func(b bootstrap) bool { return !now.Before(b.Expires) })
		list = append(list, bootstrap{Hash: base64.RawURLEncoding.EncodeToString(sum[:]), Expires: now.Add(bootstrapLife).UTC()})
		return putBootstraps(tx, list[max(0, len(list)-bootstrapCount):])
	})
	if err != nil {
		return latchkey.ConnectToken{}, err
	}
	return token, nil
}

func bootstraps(tx *acl.Tx) []bootstrap {
	text, _ := tx.Setting(settingBootstrap)
	var list []bootstrap
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil // written by nobody but us; without it new URLs are needed
	}
	return list
}

func putBootstraps(tx *acl.Tx, list []bootstrap) error {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return tx.SetSetting(settingBootstrap, string(text))
}

// connectTokens lists the tokens that hold now, in a fixed order: first those of
// keys, so that no number of invitations keeps a user out.
func (s *server) connectTokens(now time.Time) ([]signal.Token, error) {
	if s.access == nil {
		return nil, nil
	}
	secret, err := connectSecret(s.access)
	if err != nil {
		return nil, err
	}
	if err := s.voidBootstraps(); err != nil {
		return nil, err
	}
	var list []signal.Token
	err = s.access.View(func(tx *acl.Tx) error {
		if list, err = s.keyTokens(tx, secret, now); err != nil {
			return err
		}
		for _, b := range bootstraps(tx) {
			sum, err := base64.RawURLEncoding.DecodeString(b.Hash)
			if err == nil && len(sum) == sha256.Size && now.Before(b.Expires) {
				list = append(list, signal.Token{Hash: signal.Sum(sum), Expires: b.Expires, Uses: bootstrapUses})
			}
		}
		invited, err := inviteTokens(tx, secret, now)
		list = append(list, invited...)
		return err
	})
	if len(list) > signal.MaxTokens {
		s.log.Error("more connect tokens than a basestation takes: some cannot be used from other networks",
			"op", "tokens", "count", len(list), "limit", signal.MaxTokens)
		list = list[:signal.MaxTokens]
	}
	return list, err
}

// keyTokens lists the tokens of the keys that may come now: none of those whose
// removal is not on disk yet.
func (s *server) keyTokens(tx *acl.Tx, secret []byte, now time.Time) (list []signal.Token, err error) {
	for _, u := range tx.Users() {
		for _, k := range tx.Keys(u.Name) {
			subject, known := s.access.Lookup(k.Fingerprint)
			end := subject.Expires.UTC() // two of the same time are equal
			if !known || !end.IsZero() && !now.Before(end) {
				continue
			}
			token, err := tokenFor(secret, k.Fingerprint)
			if err != nil {
				return nil, err
			}
			list = append(list, signal.Token{Hash: sha256.Sum256([]byte(token.Reveal())), Key: k.Fingerprint, Expires: end})
		}
	}
	return list, nil
}

// voidBootstraps removes the bootstrap tokens from before somebody paired, for
// good: they have done their work.
func (s *server) voidBootstraps() error {
	var kept []bootstrap
	void := false
	look := func(tx *acl.Tx) error {
		kept, void = nil, false
		for _, b := range bootstraps(tx) {
			if pairedSince(tx, b.Expires.Add(-bootstrapLife)) {
				void = true
			} else {
				kept = append(kept, b)
			}
		}
		return nil
	}
	if err := s.access.View(look); err != nil || !void {
		return err
	}
	return s.access.Update(func(tx *acl.Tx) error {
		if err := look(tx); err != nil || !void {
			return err
		}
		return putBootstraps(tx, kept)
	})
}

// pairedSince reports whether somebody has paired since t.
func pairedSince(tx *acl.Tx, t time.Time) bool {
	for _, u := range tx.Users() {
		for _, k := range tx.Keys(u.Name) {
			if k.Origin != roster.OriginManual && k.Added.After(t) {
				return true
			}
		}
	}
	return false
}

// basestation tells a paired client how to reach the device from elsewhere: the
// basestation, its key, and the connect token of the client's own key.
func (p *peer) basestation(context.Context, *coap.Request) *coap.Response {
	answer := struct {
		Addrs []string              `json:"basestations"`
		Key   *latchkey.Fingerprint `json:"key,omitempty"`
		Token string                `json:"token,omitempty"`
	}{Addrs: []string{}}
	base := p.srv.attach.config.load()
	if p.srv.access == nil || len(base.addrs) == 0 || p.subject().User == "" {
		return reply(coap.Content, answer)
	}
	secret, err := connectSecret(p.srv.access)
	if err != nil {
		p.log.Error("connect token", "op", "tokens", "err", err)
		return refuse(latchkey.ErrInternal)
	}
	token, err := tokenFor(secret, p.key)
	if err != nil {
		return refuse(err)
	}
	answer.Addrs, answer.Key, answer.Token = base.addrs, &base.key, token.Reveal()
	return reply(coap.Content, answer)
}

// A tokenUpload keeps the basestation's list of tokens the same as ours.
type tokenUpload struct {
	srv     *server
	version uint64         // that the basestation has
	sent    []signal.Token // in it; nil: unknown
	failed  time.Time      // when the last upload failed; zero: it did not
}

func (s *server) newTokenUpload(version uint64) *tokenUpload {
	return &tokenUpload{srv: s, version: version}
}

// due reports whether an upload that failed should be tried again.
func (t *tokenUpload) due(now time.Time) bool {
	return !t.failed.IsZero() && now.Sub(t.failed) >= uploadAgain
}

// upload replaces the list if it has changed. That the basestation does not take
// it is told and tried again later; only the end of the leg is an error.
func (t *tokenUpload) upload(ctx context.Context, leg *uplink.Uplink) error {
	list, err := t.srv.connectTokens(time.Now())
	if err != nil {
		t.srv.log.Error("connect tokens", "op", "tokens", "err", err)
		return nil
	}
	if t.sent != nil && t.failed.IsZero() && slices.Equal(list, t.sent) {
		return nil
	}
	err = t.put(ctx, leg, list)
	if errors.Is(err, latchkey.ErrConflict) { // its list is newer than we knew
		err = t.put(ctx, leg, list)
	}
	if cause := context.Cause(leg.Context()); cause != nil {
		return cause
	}
	if err != nil {
		t.failed = time.Now()
		t.srv.log.Warn("connect tokens are not at the basestation", "op", "tokens", "code", latchkey.CodeOf(err), "err", err)
		return nil
	}
	t.sent, t.failed = append([]signal.Token{}, list...), time.Time{}
	t.srv.log.Info("connect tokens uploaded", "op", "tokens", "count", len(list), "version", t.version)
	return nil
}

func (t *tokenUpload) put(ctx context.Context, leg *uplink.Uplink, list []signal.Token) error {
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	var state signal.TokensState
	version := t.version + 1
	err := uplink.Call(ctx, leg.CoAP(), coap.PUT, signal.PathTokens, &signal.Tokens{Version: version, List: list}, &state)
	switch {
	case err == nil:
		t.version = version
	case errors.Is(err, latchkey.ErrConflict):
		t.version = state.Version
	default:
		return fmt.Errorf("upload connect tokens: %w", err)
	}
	return err
}
