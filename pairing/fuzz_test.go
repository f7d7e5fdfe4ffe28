package pairing_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/pairing"
)

// Whatever a peer posts, line by line, to whatever mode: without a password it
// becomes nobody, nothing panics, and each refusal has a reason.
func FuzzStep(f *testing.F) {
	h := newHouse(f, pairing.PasswordOpen|pairing.Invite|pairing.LocalOpen|pairing.LocalInitial)
	h.setPassword(secret)
	in := h.invite(pairing.InviteRequest{User: "carol", Role: "guest"})
	share := `{"share":"` + strings.Repeat("A", 87) + `"}`
	confirm := `{"confirm":"` + strings.Repeat("A", 43) + `"}`
	f.Add(uint8(4), []byte(`{"user":"bob"}`+"\n"+share+"\n"+confirm))
	f.Add(uint8(8), []byte(`{"invite":"`+in.ID+`","name":"x"}`+"\n"+share+"\n"+confirm))
	f.Add(uint8(1), []byte(`{"user":"bob","name":"laptop"}`))
	f.Add(uint8(2), []byte(confirm+"\n"+confirm))
	f.Add(uint8(12), []byte("{}\n\xff\n["))
	for _, text := range badRequests {
		f.Add(uint8(4), []byte(text))
	}
	f.Fuzz(func(t *testing.T, mode uint8, bodies []byte) {
		x := h.Begin(pairing.Peer{Key: newKey(t), Source: someAddr(t)})
		for body := range bytes.Lines(bodies) {
			code, answer, err := x.Step(start, pairing.Modes(mode), body)
			if err == nil && (code != 2<<5|4 || !bytes.Contains(answer, []byte(`"salt"`)) && !bytes.Contains(answer, []byte(`"share"`))) {
				t.Fatalf("%q was answered %d.%02d %s", body, code>>5, code&31, answer)
			}
			if err != nil && latchkey.CodeOf(err) == latchkey.CodeInternal {
				t.Fatalf("%q: %v", body, err)
			}
		}
		if list := users(t, h.store); len(list) != 0 {
			t.Fatalf("users %+v", list)
		}
	})
}

// Whatever a device answers, one that does not know the password is never
// believed to.
func FuzzProver(f *testing.F) {
	h := newHouse(f, pairing.PasswordOpen)
	h.setPassword(secret)
	v := h.visit(byPassword("bob"), secret)
	body, _ := v.config.Request.Encode()
	_, salt, err := v.exchange.Step(start, pairing.PasswordOpen, body)
	if err != nil {
		f.Fatal(err)
	}
	share := []byte(`{"share":"` + strings.Repeat("A", 87) + `","confirm":"` + strings.Repeat("A", 43) + `"}`)
	done := []byte(`{"user":"bob","role":"guest"}`)
	f.Add(uint8(2<<5|4), salt, share, done)
	f.Add(uint8(2<<5|4), done, []byte{}, []byte{})
	f.Add(uint8(2<<5|1), salt, done, done)
	f.Add(uint8(2<<5|4), []byte(`{"id":"acme/gw1","salt":"AAAAAAAAAAAAAAAAAAAAAA","time":4294967295,"memory":4294967295,"threads":255}`), share, done)
	f.Fuzz(func(t *testing.T, code uint8, first, second, third []byte) {
		p := pairing.NewProver(v.config)
		_, _, err := p.Next(0, nil)
		var got *pairing.Reply
		for _, answer := range [][]byte{first, second, third} {
			if err != nil || got != nil {
				break
			}
			_, got, err = p.Next(code, answer)
		}
		if err != nil && !errors.Is(err, latchkey.ErrProtocol) && !errors.Is(err, latchkey.ErrWrongPassword) {
			t.Fatal(err)
		}
		if got != nil && (got.Proved || !got.Already) {
			t.Fatalf("believed %+v", got)
		}
	})
}

// What a client reads of any device can be printed, and comes back the same.
func FuzzReadStatus(f *testing.F) {
	f.Add([]byte(`{"modes":["local-initial"],"paired":false,"local":true}`))
	f.Add([]byte(`{"modes":["from-the-future",""],"paired":true,"more":[1]}`))
	f.Add([]byte(`{"modes":null}`))
	f.Add([]byte("{\"modes\":[\"\xff\"]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := pairing.ReadStatus(text)
		if err != nil {
			if !errors.Is(err, latchkey.ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		for _, have := range []pairing.Have{{}, {Password: true}, {Invite: true}} {
			if m, err := s.Choose(have); (err == nil) != (len(m.Names()) == 1) {
				t.Errorf("Choose = %v, %v", m, err)
			} else if err != nil && strings.ContainsAny(err.Error(), "\x1b\n\r") {
				t.Errorf("an error that a terminal obeys: %q", err)
			}
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pairing.ReadStatus(again); err != nil && len(again) <= pairing.MaxMessage {
			t.Errorf("%s came back as %v", again, err)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add(uint8(2<<5|1), []byte(`{"user":"alice","role":"admin"}`))
	f.Add(uint8(2<<5|4), []byte(`{"user":"alice","role":"admin","more":1}`))
	f.Fuzz(func(t *testing.T, code uint8, text []byte) {
		r, err := pairing.ReadReply(code, text)
		if err != nil {
			if !errors.Is(err, latchkey.ErrProtocol) || r != (pairing.Reply{}) {
				t.Errorf("%+v, %v", r, err)
			}
			return
		}
		back, again, err := r.Encode()
		if err != nil || back != code {
			t.Fatalf("%d became %d, %v", code, back, err)
		}
		if same, err := pairing.ReadReply(back, again); err != nil || same != r {
			t.Errorf("%+v came back as %+v, %v", r, same, err)
		}
	})
}
