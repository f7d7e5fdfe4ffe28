package device

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A BootstrapToken is a connect token of a pairing URL, without its secret.
type BootstrapToken struct {
	ID      string    `json:"id"` // the first 8 hexadecimal digits of its SHA-256
	Expires time.Time `json:"expires"`
}

func (b bootstrap) id() string {
	sum, err := base64.RawURLEncoding.DecodeString(b.Hash)
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum[:4])
}

// BootstrapTokens lists the connect tokens of pairing URLs that have not expired, in
// the order in which they were made.
func BootstrapTokens(store *acl.Store) (list []BootstrapToken, err error) {
	err = store.View(func(tx *acl.Tx) error {
		for _, b := range bootstraps(tx) {
			if time.Now().Before(b.Expires) {
				list = append(list, BootstrapToken{b.id(), b.Expires})
			}
		}
		return nil
	})
	return list, err
}

// RemoveBootstrapToken withdraws a connect token of a pairing URL, also from the
// basestation. It is latchkey.ErrNotFound if there is none with that ID.
func RemoveBootstrapToken(store *acl.Store, id string) error {
	return store.Update(func(tx *acl.Tx) error {
		list := bootstraps(tx)
		rest := slices.DeleteFunc(slices.Clone(list), func(b bootstrap) bool { return b.id() == id })
		if len(rest) == len(list) {
			return fmt.Errorf("connect token %q: %w", id, latchkey.ErrNotFound)
		}
		return putBootstraps(tx, rest)
	})
}

// A TokenSession is a session that has logged in with a token of an issuer.
type TokenSession struct {
	Peer    latchkey.Fingerprint `json:"peer"`
	Issuer  string               `json:"issuer"`
	Subject string               `json:"subject"`
	ID      string               `json:"id"` // the claim jti; "": the token has none
	Role    string               `json:"role"`
	Expires time.Time            `json:"expires"`
}

// TokenSessions lists the sessions whose token holds.
func (d *Device) TokenSessions() ([]TokenSession, error) {
	s, err := d.serving()
	if err != nil {
		return nil, err
	}
	var list []TokenSession
	for _, p := range s.all() {
		if c := p.credential.Load(); c != nil && c.over.IsZero() {
			t := c.token
			list = append(list, TokenSession{p.key, t.Issuer, t.Subject, t.ID, t.Role, t.Expires})
		}
	}
	slices.SortFunc(list, func(a, b TokenSession) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

const (
	// settingVoided keeps the tokens of issuers that were revoked here. No backup
	// has it, and nothing takes it away.
	settingVoided = "local.revoked-tokens"
	maxVoided     = 200 // which is what fits into a setting
)

// voided is a token that was revoked.
type voided struct {
	Token string    `json:"token"` // hash of issuer and jti
	Until time.Time `json:"until"` // when it would have expired
}

// voidedHash stands for a token of that issuer and id.
func voidedHash(issuer, id string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// RevokeToken refuses the token of an issuer whose claim jti is id, until the time
// at which it would have expired. It is on disk when the error is nil. See
// Device.RevokeToken for a device that serves.
func RevokeToken(store *acl.Store, issuer, id string, until time.Time) error {
	return store.Update(func(tx *acl.Tx) error {
		now, hash := time.Now(), voidedHash(issuer, id)
		list := slices.DeleteFunc(voidedTokens(tx), func(v voided) bool { return !now.Before(v.Until) || v.Token == hash })
		if len(list) >= maxVoided {
			return fmt.Errorf("revoke token: %w: %d tokens are revoked that have not expired; take the issuer out of the configuration", latchkey.ErrTooMany, len(list))
		}
		text, err := json.Marshal(append(list, voided{hash, until.UTC().Truncate(time.Second).Add(time.Second)}))
		if err != nil {
			return err
		}
		return tx.SetSetting(settingVoided, string(text))
	})
}

func voidedTokens(tx *acl.Tx) (list []voided) {
	text, _ := tx.Setting(settingVoided)
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil // written by nobody but us
	}
	return list
}

// RevokeToken does the same on a device that serves, and ends what the token was
// good for. That holds at once; an error that is acl.ErrHeld says that a restart
// would undo it.
func (d *Device) RevokeToken(issuer, id string, until time.Time) error {
	s, err := d.serving()
	if err != nil {
		return err
	}
	s.voided.add(voidedHash(issuer, id), until)
	for _, p := range s.all() {
		p.checkVoided()
	}
	if s.access == nil {
		return nil
	}
	if err := RevokeToken(s.access, issuer, id, until); err != nil {
		return fmt.Errorf("%w: %w", acl.ErrHeld, err)
	}
	return nil
}

// voidList are tokens that were revoked since the start, whatever became of the
// store.
type voidList struct {
	mu   sync.Mutex
	held map[string]time.Time
}

func (l *voidList) add(hash string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(map[string]time.Time)
	}
	now := time.Now()
	for other, end := range l.held {
		if !now.Before(end) {
			delete(l.held, other)
		}
	}
	l.held[hash] = until
}

func (l *voidList) has(hash string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.held[hash]
	return ok
}

// isVoid reports whether a token was revoked. One without an id cannot be.
func (s *server) isVoid(t *acl.Token) bool {
	if t.ID == "" {
		return false
	}
	hash := voidedHash(t.Issuer, t.ID)
	if s.voided.has(hash) || s.access == nil {
		return s.voided.has(hash)
	}
	void := false
	err := s.access.View(func(tx *acl.Tx) error {
		void = slices.ContainsFunc(voidedTokens(tx), func(v voided) bool { return v.Token == hash })
		return nil
	})
	return void || err != nil
}

// checkVoided ends the rights of a token that was revoked, and the session if it had
// no others.
func (p *peer) checkVoided() {
	c := p.credential.Load()
	if c == nil || !c.over.IsZero() || !p.srv.isVoid(&c.token) || !p.credential.CompareAndSwap(c, nil) {
		return
	}
	p.event(acl.Event{Kind: acl.EventToken, Action: acl.TokenLogin, Outcome: acl.OutcomeOK, Object: c.token.Subject, Detail: "revoked", Code: latchkey.CodeRevoked})
	if p.subject().User != "" {
		p.reviewAll()
		return
	}
	p.expelled.take(&p.work, func() { p.end(fmt.Errorf("device: token: %w", latchkey.ErrRevoked)) })
}
