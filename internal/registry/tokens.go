package registry

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// ReplaceTokens makes tokens all that a device has, and version their version,
// which it returns. Counts of use stay with the tokens that stay. A version that
// is not above the stored one is latchkey.ErrConflict, and the stored one is
// returned; only the very same upload once more is fine, because its answer may
// have been lost. Of an upload that changes nothing but the version, the version
// is kept in memory alone: after a crash or a restart the one before is stored,
// with the same tokens. latchkey.ErrNotFound: there is no such device;
// latchkey.ErrTooMany: more than MaxTokens, or MaxTokensTotal.
func (s *Store) ReplaceTokens(id latchkey.DeviceID, version uint64, tokens []Token) (uint64, error) {
	if len(tokens) > MaxTokens {
		return s.TokensVersion(id), fmt.Errorf("tokens of %s: %d, %d are the most: %w", id, len(tokens), MaxTokens, latchkey.ErrTooMany)
	}
	next := &list{version, make(map[[32]byte]Token, len(tokens))}
	for _, t := range tokens {
		if t.Hash == [32]byte{} || t.Uses < 0 || checkTimes(t.Expires) != nil {
			return s.TokensVersion(id), fmt.Errorf("tokens of %s: %w", id, latchkey.ErrProtocol)
		}
		t.Expires = plainTime(t.Expires)
		next.tokens[t.Hash] = t
	}
	if len(next.tokens) != len(tokens) {
		return s.TokensVersion(id), fmt.Errorf("tokens of %s: one stands there twice: %w", id, latchkey.ErrProtocol)
	}
	var stored uint64
	err := s.update(func(t *tx) error {
		stored = s.skipped(id)
		if t.devices[id] == nil {
			return fmt.Errorf("tokens of %q: %w", id, latchkey.ErrNotFound)
		}
		total := t.tokens + len(next.tokens)
		if old := t.lists[id]; old != nil {
			stored = max(stored, old.version)
			total -= len(old.tokens)
			same := version >= stored && maps.Equal(old.tokens, next.tokens)
			if same && version == stored {
				return nil
			}
			if same && s.now.Load().lists[id] == old { // what is on disk, not of this batch
				s.skip(id, version)
				return nil
			}
		}
		switch {
		case version <= stored:
			return fmt.Errorf("tokens of %s: version %d is stored: %w", id, stored, latchkey.ErrConflict)
		case total > MaxTokensTotal:
			return fmt.Errorf("tokens of %s: no room for %d more: %w", id, len(next.tokens), latchkey.ErrTooMany)
		}
		t.putList(id, next)
		return nil
	})
	if err == nil {
		return version, nil
	}
	return stored, err
}

// skip notes the version of an upload that changed nothing; 0 forgets it.
func (s *Store) skip(id latchkey.DeviceID, version uint64) {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	if version == 0 {
		delete(s.ahead, id)
	} else {
		s.ahead[id] = version
	}
}

func (s *Store) skipped(id latchkey.DeviceID) uint64 {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	return s.ahead[id]
}

// TokensVersion returns the version of the tokens that a device uploaded last, 0
// if it uploaded none.
func (s *Store) TokensVersion(id latchkey.DeviceID) uint64 {
	if l := s.now.Load().lists[id]; l != nil {
		return max(l.version, s.skipped(id))
	}
	return 0
}

// CreateToken makes a token of the operator's. Scope, Key, Expires, Uses, Note and
// Added of t are taken; its ID is made. The raw token is returned here and never
// again.
func (s *Store) CreateToken(t OperatorToken) (OperatorToken, latchkey.ConnectToken, error) {
	var id [5]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	t.ID, t.Used = hex.EncodeToString(id[:]), 0
	t.Expires, t.Added = plainTime(t.Expires), plainTime(t.Added)
	if err := t.check(); err != nil {
		return OperatorToken{}, latchkey.ConnectToken{}, err
	}
	raw := latchkey.NewConnectToken()
	err := s.update(func(tx *tx) error {
		if tx.operator[t.ID] != nil {
			return fmt.Errorf("create token %s: %w", t.ID, latchkey.ErrConflict)
		}
		if len(tx.operator) >= MaxOperatorTokens {
			return fmt.Errorf("create token: there are %d: %w", MaxOperatorTokens, latchkey.ErrTooMany)
		}
		tx.putOperator(&operatorToken{t, hash(raw.Hash().Sum())})
		return nil
	})
	if err != nil {
		return OperatorToken{}, latchkey.ConnectToken{}, err
	}
	return t, raw, nil
}

// Tokens returns the operator's tokens, oldest first.
func (s *Store) Tokens() []OperatorToken {
	now := s.now.Load()
	out := make([]OperatorToken, 0, len(now.operator))
	for _, t := range now.operator {
		if !now.held[grant{operator: t.ID}] {
			out = append(out, t.OperatorToken)
		}
	}
	slices.SortFunc(out, func(a, b OperatorToken) int { return cmp.Or(a.Added.Compare(b.Added), cmp.Compare(a.ID, b.ID)) })
	return out
}

// RevokeToken removes a token of the operator's. It is latchkey.ErrNotFound if
// there is none with that ID.
func (s *Store) RevokeToken(id string) error {
	return s.update(func(t *tx) error {
		token := t.operator[id]
		if token == nil {
			return fmt.Errorf("revoke token %q: %w", id, latchkey.ErrNotFound)
		}
		t.dropOperator(token)
		return nil
	})
}

// Redeem says yes, with nil, if the token of hash h lets client be introduced to
// device id at the time now, and counts the use. A count is on disk before Redeem
// returns. A refusal matches latchkey.ErrForbidden and writes nothing; any other
// error means no as well.
//
// Secrets are compared only through their hashes, by look-up: time may tell
// something about a hash, from which no token follows.
func (s *Store) Redeem(id latchkey.DeviceID, h latchkey.TokenHash, client latchkey.Fingerprint, now time.Time) error {
	snap := s.now.Load()
	_, counted, err := snap.redeem(snap.held, id, h.Sum(), client, now)
	if err != nil || !counted {
		return err
	}
	return s.update(func(t *tx) error {
		g, _, err := t.redeem(s.now.Load().held, id, h.Sum(), client, now)
		if err != nil {
			return err
		}
		t.count(g)
		return nil
	})
}

// Check is Redeem without counting the use: for a client that is not introduced
// because the device is away.
func (s *Store) Check(id latchkey.DeviceID, h latchkey.TokenHash, client latchkey.Fingerprint, now time.Time) error {
	snap := s.now.Load()
	_, _, err := snap.redeem(snap.held, id, h.Sum(), client, now)
	return err
}

// redeem decides. It returns what opens, and whether its uses are counted.
func (st *state) redeem(away held, id latchkey.DeviceID, h [32]byte, client latchkey.Fingerprint, now time.Time) (g grant, counted bool, err error) {
	if st.devices[id] == nil {
		return g, false, ErrNoToken
	}
	g = grant{token: use{id, h}}
	if l := st.lists[id]; l != nil && !away[g] {
		if t, ok := l.tokens[h]; ok {
			return g, t.Uses != 0, opens(t.Key, t.Expires, t.Uses, st.uses[g.token], client, now)
		}
	}
	g = grant{operator: st.hashes[h]}
	t := st.operator[g.operator]
	if t == nil || away[g] || !t.Scope.covers(id) {
		return g, false, ErrNoToken
	}
	return g, t.Uses != 0, opens(t.Key, t.Expires, t.Uses, t.Used, client, now)
}

// opens compares what a token demands with what there is.
func opens(key latchkey.Fingerprint, expires time.Time, uses, used int, client latchkey.Fingerprint, now time.Time) error {
	switch {
	case client.IsZero(), !key.IsZero() && key != client:
		return ErrOtherKey
	case !expires.IsZero() && !now.Before(expires):
		return ErrExpired
	case uses != 0 && used >= uses:
		return ErrUsedUp
	}
	return nil
}

// count counts a use of what redeem returned. Uses that are not limited are not
// counted.
func (t *tx) count(g grant) {
	if g.operator == "" {
		if t.lists[g.token.id].tokens[g.token.hash].Uses != 0 {
			t.putUse(g.token, t.uses[g.token]+1)
		}
		return
	}
	if token := *t.operator[g.operator]; token.Uses != 0 {
		token.Used++
		t.putOperator(&token)
	}
}
