package pairing_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A device of any kind cannot make a client work harder than it wants, or
// believe what was not shown.
func TestProverRefuses(t *testing.T) {
	const (
		ok      = 2<<5 | 4
		created = 2<<5 | 1
		costs   = `"time":1,"memory":8,"threads":1`
	)
	salt := `"salt":"` + strings.Repeat("A", 22) + `"`
	good := fmt.Sprintf(`{"id":"acme/gw1",%s,%s}`, salt, costs)
	share := strings.Repeat("A", 87)
	for name, answers := range map[string][]any{
		"an end before its time":     {created, `{"user":"bob","role":"admin"}`},
		"salt with an end's code":    {created, good},
		"another success":            {2<<5 | 5, good},
		"nothing":                    {ok, ``},
		"no fields":                  {ok, `{}`},
		"short salt":                 {ok, strings.Replace(good, "AA", "", 1)},
		"no costs":                   {ok, `{"id":"acme/gw1",` + salt + `}`},
		"too much memory":            {ok, strings.Replace(good, `"memory":8`, `"memory":65537`, 1)},
		"no memory for the threads":  {ok, strings.Replace(good, `"threads":1`, `"threads":2`, 1)},
		"too many passes":            {ok, strings.Replace(good, `"time":1`, `"time":9`, 1)},
		"endless passes":             {ok, strings.Replace(good, `"time":1`, `"time":4294967295`, 1)},
		"passes beyond counting":     {ok, strings.Replace(good, `"time":1`, `"time":4294967297`, 1)},
		"too many threads":           {ok, strings.Replace(good, `"threads":1`, `"threads":5`, 1)},
		"no id":                      {ok, `{` + salt + `,` + costs + `}`},
		"another id":                 {ok, strings.Replace(good, "gw1", "gw2", 1)},
		"salt twice":                 {ok, good, ok, good},
		"no point":                   {ok, good, ok, `{"share":"` + share + `","confirm":"` + share[:43] + `"}`},
		"short share":                {ok, good, ok, `{"share":"` + share[:86] + `","confirm":"` + share[:43] + `"}`},
		"no confirmation":            {ok, good, ok, `{"share":"` + share + `"}`},
		"an end instead of a share":  {ok, good, created, `{"user":"bob","role":"admin"}`},
		"an end with a share's code": {ok, good, ok, `{"role":"admin"}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, 0)
			p := pairing.NewProver(h.visit(byPassword("bob"), secret).config)
			_, done, err := p.Next(0, nil)
			for i := 0; i < len(answers); i += 2 {
				if err != nil || done != nil {
					t.Fatalf("before the end: %+v, %v", done, err)
				}
				_, done, err = p.Next(uint8(answers[i].(int)), []byte(answers[i+1].(string)))
			}
			if !errors.Is(err, latchkey.ErrProtocol) || done != nil {
				t.Errorf("Next = %+v, %v; want ErrProtocol", done, err)
			}
			if body, done, err := p.Next(ok, []byte(good)); err == nil || body != nil || done != nil {
				t.Errorf("after the end: %s %+v", body, done)
			}
		})
	}
}

// A device that sends the client's own share back knows nothing.
func TestProverRefusesItsOwnShare(t *testing.T) {
	h := newHouse(t, pairing.PasswordOpen)
	h.setPassword(secret)
	v := h.visit(byPassword("bob"), secret)
	p := pairing.NewProver(v.config)
	body, _, _ := p.Next(0, nil)
	code, answer, err := v.exchange.Step(start, pairing.PasswordOpen, body)
	if err != nil {
		t.Fatal(err)
	}
	if body, _, err = p.Next(code, answer); err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSuffix(string(body), "}") + `,"confirm":"` + strings.Repeat("A", 43) + `"}`
	if _, done, err := p.Next(code, []byte(own)); !errors.Is(err, latchkey.ErrProtocol) || done != nil {
		t.Errorf("Next = %+v, %v; want ErrProtocol", done, err)
	}
}

func TestProverNeedsAPassword(t *testing.T) {
	for _, r := range []pairing.Request{byPassword("bob"), byInvite(strings.Repeat("A", 22))} {
		_, _, err := pairing.NewProver(pairing.ProverConfig{Request: r}).Next(0, nil)
		var missing *pairing.MissingError
		if !errors.As(err, &missing) || missing.Password == missing.Invite {
			t.Errorf("%v: %v, want a *MissingError", r.Mode, err)
		}
	}
	_, _, err := pairing.NewProver(pairing.ProverConfig{Request: byPassword("a/b"), Password: secret}).Next(0, nil)
	if err == nil {
		t.Error("a bad name was encoded")
	}
}
