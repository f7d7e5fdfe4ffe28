package pairing_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// The model of a Host knows nothing of keys and curves: who means which password
// it is told.
type modelHost struct {
	*house
	t   *rapid.T
	now time.Time

	password int // 0: none; each new one is another, whatever its text
	texts    []latchkey.Secret
	open     bool // password-open, by hand
	until    time.Time
	failed   []modelTry // of password-open
	invites  []*modelInvite
	visits   []*modelVisit
	taken    map[string]bool
	keys     int // names given out
}

type modelInvite struct {
	pairing.Invitation
	failures int
	used     bool
}

type modelTry struct {
	at     time.Time
	source int
	by     *modelVisit
}

type modelVisit struct {
	*visit
	right    bool // the visitor means the right password
	source   int
	invite   *modelInvite // nil: password-open
	password int          // when it began
	stage    int          // 0: nothing, 1: has the salt, 2: has the share
	prover   *pairing.Prover
	body     []byte
	done     bool
}

const modelMode = pairing.Invite // always open in the model

func (m *modelHost) isOpen() bool {
	return m.open && (m.until.IsZero() || m.now.Before(m.until))
}

// allowed says what the request or the share of v must come to.
func (m *modelHost) allowed(v *modelVisit) error {
	if v.invite != nil {
		i := v.invite
		if i.used || i.failures >= pairing.MaxFailures || !m.now.Before(i.Expires) {
			return latchkey.ErrPairingClosed
		}
		return nil
	}
	if !m.isOpen() || m.password == 0 || v.stage > 0 && v.password != m.password || len(m.failed) >= pairing.MaxFailures {
		return latchkey.ErrPairingClosed
	}
	recent := 0
	for _, f := range m.failed {
		if f.source == v.source && m.now.Sub(f.at) < time.Hour {
			recent++
		}
	}
	if recent >= pairing.MaxFailuresFrom {
		return latchkey.ErrTooMany
	}
	return nil
}

func (m *modelHost) begin(t *rapid.T) {
	source := rapid.IntRange(0, 4).Draw(t, "source")
	right := rapid.Bool().Draw(t, "right")
	v := &modelVisit{right: right, source: source, password: m.password}
	m.keys++
	name := fmt.Sprintf("user%d", m.keys-m.keys%3) // some want the same
	r, p := byPassword(name), wrong
	if m.password > 0 && right {
		p = m.texts[m.password-1]
	}
	if len(m.invites) > 0 && rapid.Bool().Draw(t, "by invite") {
		v.invite = rapid.SampledFrom(m.invites).Draw(t, "invite")
		r = byInvite(v.invite.ID)
		if right {
			p = v.invite.Password
		}
	}
	v.visit = m.visit(r, p)
	v.peer.Source = netip.AddrFrom4([4]byte{192, 0, 2, byte(source)})
	v.exchange = m.house.Begin(v.peer)
	v.prover = pairing.NewProver(v.config)
	v.body, _, _ = v.prover.Next(0, nil)
	m.visits = append(m.visits, v)
	m.advance(v)
}

// advance takes the next step of v and compares.
func (m *modelHost) advance(v *modelVisit) {
	want := m.allowed(v)
	if v.stage == 2 {
		want = m.outcome(v)
	}
	code, answer, err := v.exchange.Step(m.now, v.config.Request.Mode, v.body)
	if want != nil {
		if !errors.Is(err, want) {
			m.t.Fatalf("stage %d: %v, want %v", v.stage, err, want)
		}
		v.done = true
		return
	}
	if err != nil {
		m.t.Fatalf("stage %d: %v", v.stage, err)
	}
	var done *pairing.Reply
	v.body, done, err = v.prover.Next(code, answer)
	v.stage++
	switch v.stage {
	case 2:
		m.charge(v)
		if v.right != (err == nil) {
			m.t.Fatalf("the visitor who is right %v says %v", v.right, err)
		}
		if err != nil { // goes on nevertheless
			v.body = []byte(`{"confirm":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`)
		}
	case 3:
		v.done = true
		if err != nil || done == nil || !done.Proved || done.Already {
			m.t.Fatalf("done %+v, %v", done, err)
		}
		m.join(v, done.User)
	}
}

func (m *modelHost) charge(v *modelVisit) {
	if v.invite != nil {
		v.invite.failures++
		return
	}
	m.failed = append(m.failed, modelTry{m.now, v.source, v})
}

func (m *modelHost) refund(v *modelVisit) {
	if v.invite != nil {
		v.invite.failures--
	}
	for i, f := range m.failed {
		if f.by == v {
			m.failed = append(m.failed[:i:i], m.failed[i+1:]...)
			break
		}
	}
}

// outcome says what the confirmation of v must come to.
func (m *modelHost) outcome(v *modelVisit) error {
	if !v.right {
		return latchkey.ErrWrongPassword
	}
	name := v.config.Request.User
	if i := v.invite; i != nil {
		name = i.User
		if i.used || !m.now.Before(i.Expires) {
			return latchkey.ErrPairingClosed
		}
	} else if !m.isOpen() || m.password == 0 || v.password != m.password {
		return latchkey.ErrPairingClosed
	}
	if m.taken[name] {
		m.refund(v)
		return latchkey.ErrConflict
	}
	return nil
}

func (m *modelHost) join(v *modelVisit, name string) {
	m.refund(v)
	m.taken[name] = true
	if v.invite != nil {
		v.invite.used = true
	}
	if s, ok := m.store.Lookup(v.peer.Key); !ok || s.User != name {
		m.t.Fatalf("the key belongs to %+v, want %q", s, name)
	}
}

func (m *modelHost) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"begin": m.begin,
		"advance": func(t *rapid.T) {
			var going []*modelVisit
			for _, v := range m.visits {
				if !v.done {
					going = append(going, v)
				}
			}
			if len(going) > 0 {
				m.advance(rapid.SampledFrom(going).Draw(t, "visit"))
			}
		},
		"password": func(t *rapid.T) {
			text := latchkey.NewSecret(fmt.Sprintf("password %d", len(m.texts)))
			m.setPassword(text)
			m.texts = append(m.texts, text)
			m.password = len(m.texts)
		},
		"open": func(t *rapid.T) {
			until := time.Time{}
			if rapid.Bool().Draw(t, "deadline") {
				until = m.now.Add(30 * time.Minute)
			}
			err := m.Open(pairing.PasswordOpen, until)
			if (err == nil) != (m.password > 0) {
				t.Fatalf("Open = %v with password %d", err, m.password)
			}
			if err == nil {
				m.open, m.until, m.failed = true, until, nil
			}
		},
		"close": func(*rapid.T) { m.Close(pairing.PasswordOpen); m.open = false },
		"invite": func(t *rapid.T) {
			name := fmt.Sprintf("guest%d", len(m.invites))
			in, err := m.Invite(m.now, pairing.InviteRequest{User: name, Role: acl.RoleUser, Expires: m.now.Add(2 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			m.invites = append(m.invites, &modelInvite{Invitation: in})
		},
		"wait": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 45).Draw(t, "minutes")) * time.Minute)
		},
		"restart": func(*rapid.T) {
			m.restart()
			m.open = false
			for _, v := range m.visits {
				v.done = true // their connections are gone
			}
		},
		"": m.check,
	}
}

func (m *modelHost) check(t *rapid.T) {
	var want pairing.Modes
	if m.isOpen() && m.password > 0 && len(m.failed) < pairing.MaxFailures {
		want |= pairing.PasswordOpen
	}
	for _, i := range m.invites {
		if !i.used && i.failures < pairing.MaxFailures && m.now.Before(i.Expires) {
			want |= modelMode
		}
	}
	if got := m.Modes(m.now); got != want {
		t.Fatalf("modes %v, want %v", got, want)
	}
	if got := len(users(m.house.t, m.store)); got != len(m.taken) {
		t.Fatalf("%d users, want %d", got, len(m.taken))
	}
}

// A Host does what a model does that only counts.
func TestHostModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &modelHost{house: newHouse(t, modelMode), t: r, now: start, taken: map[string]bool{}}
		defer m.house.store.Close()
		r.Repeat(m.actions())
	})
}
