package coap

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// A raw peer speaks to an endpoint datagram by datagram.
type raw struct {
	t testing.TB
	*Endpoint
	mu   sync.Mutex
	sent [][]byte
	came chan struct{} // has an element when something was sent
}

func newRaw(t testing.TB, cfg Config) *raw {
	t.Helper()
	r := &raw{t: t, came: make(chan struct{}, 1)}
	cfg.Log = quiet
	cfg.Send = func(b []byte) error {
		r.mu.Lock()
		r.sent = append(r.sent, bytes.Clone(b))
		r.mu.Unlock()
		select {
		case r.came <- struct{}{}:
		default:
		}
		return nil
	}
	r.Endpoint = New(cfg)
	t.Cleanup(func() { r.Close(); r.Wait() })
	return r
}

// take returns and forgets what was sent so far.
func (r *raw) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

// next waits for the next datagram.
func (r *raw) next() *message {
	r.t.Helper()
	for deadline := time.After(10 * time.Second); ; {
		r.mu.Lock()
		if len(r.sent) > 0 {
			b := r.sent[0]
			r.sent = r.sent[1:]
			r.mu.Unlock()
			return read(r.t, b)
		}
		r.mu.Unlock()
		select {
		case <-r.came:
		case <-deadline:
			r.t.Fatal("no datagram came")
		}
	}
}

// ask delivers a message and returns the next one that comes back.
func (r *raw) ask(m *message) *message {
	r.t.Helper()
	r.Deliver(wire(r.t, m))
	return r.next()
}

func read(t testing.TB, b []byte) *message {
	t.Helper()
	var f frame
	if err := f.parse(bytes.Clone(b)); err != nil {
		t.Fatalf("sent %x: %v", b, err)
	}
	return &f.message
}

func wire(t testing.TB, m *message) []byte {
	t.Helper()
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tok(s string) token {
	var t token
	t.n = uint8(copy(t.b[:], s))
	return t
}

// con makes a confirmable message; list alternates numbers and values.
func con(id uint16, t string, code Code, list ...any) *message {
	m := &message{typ: codec.Confirmable, code: code, id: id, token: tok(t)}
	var o options
	for i := 0; i < len(list); i += 2 {
		var v []byte
		switch x := list[i+1].(type) {
		case string:
			v = []byte(x)
		case []byte:
			v = x
		case int:
			v = encodeUint(uint32(x))
		case block:
			var one options
			x.set = true
			x.addTo(&one, 0)
			v = one[0].Value
		default:
			panic(fmt.Sprintf("%T", x))
		}
		o.bytes(list[i].(codec.OptionID), v)
	}
	m.options = o.sorted()
	return m
}

func non(id uint16, t string, code Code, list ...any) *message {
	m := con(id, t, code, list...)
	m.typ = codec.NonConfirmable
	return m
}

func (m *message) with(body string) *message {
	m.payload = []byte(body)
	return m
}

// String shows a message as "ACK 2.05 id=7 t=abc 12=[] "body"" in failures and
// expectations.
func (m *message) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s id=%d t=%s", [...]string{"CON", "NON", "ACK", "RST"}[m.typ], m.code, m.id, m.token.bytes())
	for _, o := range m.options {
		fmt.Fprintf(&b, " %d=%x", o.ID, o.Value)
	}
	if len(m.payload) > 0 {
		fmt.Fprintf(&b, " %.20q", m.payload)
	}
	return b.String()
}

func (m *message) option(id codec.OptionID) ([]byte, bool) {
	v, err := m.options.GetBytes(id)
	return v, err == nil
}

func (m *message) block(id codec.OptionID) block {
	v, ok := m.option(id)
	if !ok {
		return block{}
	}
	return decodeBlock(v)
}
