package registry

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/vault"
)

// A model is a registry as simple as it can be.
type model struct {
	keys    map[int]string // fingerprint numbers to devices
	version map[string]uint64
	kept    map[string]uint64        // versions with which the tokens changed, which a restart leaves
	tokens  map[string]map[int]Token // token numbers
	used    map[string]map[int]int
}

var modelTokens = func() (out [6]latchkey.ConnectToken) {
	for i := range out {
		out[i] = latchkey.NewConnectToken()
	}
	return out
}()

func (m *model) has(id string) bool {
	for _, d := range m.keys {
		if d == id {
			return true
		}
	}
	return false
}

// redeem returns what Redeem must.
func (m *model) redeem(id string, token, client int, now time.Time) error {
	t, ok := m.tokens[id][token]
	switch {
	case !m.has(id) || !ok:
		return ErrNoToken
	case !t.Key.IsZero() && t.Key != fingerprint(client):
		return ErrOtherKey
	case !t.Expires.IsZero() && !now.Before(t.Expires):
		return ErrExpired
	case t.Uses > 0 && m.used[id][token] >= t.Uses:
		return ErrUsedUp
	}
	m.used[id][token]++
	return nil
}

// Whatever is asked in whatever order, with restarts and failing writes in
// between, the registry answers as the model does.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, err := Create(filepath.Join(t.TempDir(), "registry.db"))
		if err != nil {
			r.Fatal(err)
		}
		defer func() { s.Close() }()
		m := &model{map[int]string{}, map[string]uint64{}, map[string]uint64{}, map[string]map[int]Token{}, map[string]map[int]int{}}
		ids := rapid.SampledFrom([]string{"acme/a", "acme/b", "zeta/a"})
		small := rapid.IntRange(0, 5)
		r.Repeat(map[string]func(*rapid.T){
			"add": func(r *rapid.T) {
				id, key := ids.Draw(r, "id"), small.Draw(r, "key")
				err := s.AddDevice(device(t, id), Key{Fingerprint: fingerprint(key), Added: noon})
				owner, there := m.keys[key]
				if there && owner != id {
					if !errors.Is(err, latchkey.ErrConflict) {
						r.Errorf("add: %v", err)
					}
					return
				}
				if err != nil {
					r.Fatal(err)
				}
				if m.keys[key] = id; m.tokens[id] == nil {
					m.tokens[id], m.used[id] = map[int]Token{}, map[int]int{}
				}
			},
			"remove": func(r *rapid.T) {
				id := ids.Draw(r, "id")
				if err := s.RemoveDevice(device(t, id)); (err == nil) != m.has(id) {
					r.Errorf("remove: %v", err)
				}
				maps.DeleteFunc(m.keys, func(_ int, d string) bool { return d == id })
				delete(m.version, id)
				delete(m.kept, id)
				delete(m.tokens, id)
				delete(m.used, id)
			},
			"replace": func(r *rapid.T) {
				id := ids.Draw(r, "id")
				version := uint64(small.Draw(r, "version")) + m.version[id]
				next := map[int]Token{}
				var list []Token
				for _, n := range rapid.SliceOfNDistinct(small, 0, 4, rapid.ID[int]).Draw(r, "tokens") {
					token := Token{Hash: modelTokens[n].Hash().Sum(), Uses: rapid.IntRange(0, 2).Draw(r, "uses")}
					if rapid.Bool().Draw(r, "bound") {
						token.Key = fingerprint(small.Draw(r, "client"))
					}
					if rapid.Bool().Draw(r, "dated") {
						token.Expires = noon.Add(time.Duration(small.Draw(r, "hours")) * time.Hour)
					}
					next[n], list = token, append(list, token)
				}
				_, err := s.ReplaceTokens(device(t, id), version, list)
				same := version == m.version[id] && version > 0 && maps.Equal(next, m.tokens[id])
				if want := m.has(id) && (same || version > m.version[id]); (err == nil) != want {
					r.Errorf("replace: %v", err)
				}
				if err != nil {
					return
				}
				if m.version[id] == 0 || !maps.Equal(next, m.tokens[id]) {
					m.kept[id] = version
				}
				m.tokens[id], m.version[id] = next, version
				maps.DeleteFunc(m.used[id], func(n, _ int) bool { return next[n].Uses == 0 })
			},
			"redeem": func(r *rapid.T) {
				id, token, client := ids.Draw(r, "id"), small.Draw(r, "token"), small.Draw(r, "client")
				now := noon.Add(time.Duration(small.Draw(r, "hours")) * time.Hour)
				want := m.redeem(id, token, client, now)
				if m.tokens[id][token].Uses == 0 {
					delete(m.used[id], token)
				}
				if err := s.Redeem(device(t, id), modelTokens[token].Hash(), fingerprint(client), now); !errors.Is(err, want) {
					r.Errorf("redeem: %v, want %v", err, want)
				}
			},
			"failing redeem": func(r *rapid.T) {
				id, token := ids.Draw(r, "id"), small.Draw(r, "token")
				works := s.commit
				s.commit = func(map[vault.ID]vault.Record) error { return errDisk }
				err := s.Redeem(device(t, id), modelTokens[token].Hash(), fingerprint(0), noon)
				s.commit = works
				if err == nil && m.tokens[id][token].Uses != 0 {
					r.Error("a use that could not be counted was allowed")
				}
			},
			"restart": func(r *rapid.T) {
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				if s, err = Open(s.path); err != nil {
					r.Fatal(err)
				}
				m.version = maps.Clone(m.kept)
			},
			"": func(r *rapid.T) {
				total := 0
				for _, tokens := range m.tokens {
					total += len(tokens)
				}
				if n := s.now.Load().tokens; n != total {
					r.Errorf("%d tokens in all, want %d", n, total)
				}
				for key := range 6 {
					d, ok := s.ByKey(fingerprint(key))
					if owner := m.keys[key]; ok != (owner != "") || d.ID.String() != owner {
						r.Errorf("key %d: %v, want %q", key, d.ID, owner)
					}
				}
				for _, id := range []string{"acme/a", "acme/b", "zeta/a"} {
					if v := s.TokensVersion(device(t, id)); v != m.version[id] {
						r.Errorf("version %d, want %d", v, m.version[id])
					}
				}
			},
		})
	})
}

// FuzzLoad makes a record of anything. It is refused, or what it says can be
// written and loaded again.
func FuzzLoad(f *testing.F) {
	f.Add(devicesBucket, "acme/gw1", []byte(`{"id":"acme/gw1","keys":[],"added":"2026-11-22T12:00:00Z"}`))
	f.Add(tokensBucket, "acme/gw1", []byte(`{"id":"acme/gw1","version":1,"list":[]}`))
	f.Add(usesBucket, "acme/gw1\x00"+fmt.Sprintf("%032d", 7), []byte(`1`))
	f.Add(operatorBucket, "ab", []byte(`{"id":"ab","scope":{"product":"acme"},"added":"2026-11-22T12:00:00Z","hash":"`+fmt.Sprintf("%064x", 7)+`"}`))
	f.Fuzz(func(t *testing.T, bucket, key string, payload []byte) {
		id := vault.ID{Bucket: bucket, Key: key}
		st := newState()
		if st.load(map[vault.ID]vault.Record{id: vault.Seal(id, payload)}) != nil {
			return
		}
		x := newState().begin()
		for _, d := range st.devices {
			x.putDevice(d)
		}
		for _, o := range st.operator {
			x.putOperator(o)
		}
		again := newState()
		if err := again.load(x.changes); err != nil || len(again.devices) != len(st.devices) || len(again.operator) != len(st.operator) {
			t.Errorf("%q is loaded, but not again: %v", payload, err)
		}
	})
}
