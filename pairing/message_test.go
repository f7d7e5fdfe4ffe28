package pairing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/pairing"
)

func TestRequestText(t *testing.T) {
	for _, tt := range []struct {
		request pairing.Request
		text    string
	}{
		{pairing.Request{Mode: pairing.LocalInitial, User: "alice", Name: "laptop"}, `{"user":"alice","name":"laptop"}`},
		{pairing.Request{Mode: pairing.LocalInitial, User: "alice"}, `{"user":"alice"}`},
		{pairing.Request{Mode: pairing.LocalInitial, User: "jürgen", Name: `"work" & <play>`}, ""},
		{pairing.Request{Mode: pairing.LocalInitial, User: strings.Repeat("ж", 64), Name: strings.Repeat("n", 64)}, ""},
	} {
		text, err := tt.request.Encode()
		if err != nil || tt.text != "" && string(text) != tt.text {
			t.Errorf("Encode = %s, %v; want %s", text, err, tt.text)
		}
		got, err := pairing.ParseRequest(pairing.LocalInitial, text)
		if err != nil || got != tt.request {
			t.Errorf("ParseRequest(%s) = %+v, %v", text, got, err)
		}
	}
}

func TestParseRequestAccepts(t *testing.T) {
	for _, text := range []string{
		` { "name" : "laptop" , "user" : "alice" } `,
		"{\n\t\"user\": \"alice\", \"name\": \"laptop\"\r\n}",
		`{"user":"\u0061lice","name":"laptop"}`,
	} {
		got, err := pairing.ParseRequest(pairing.LocalInitial, []byte(text))
		if want := (pairing.Request{Mode: pairing.LocalInitial, User: "alice", Name: "laptop"}); err != nil || got != want {
			t.Errorf("ParseRequest(%s) = %+v, %v", text, got, err)
		}
	}
}

var badRequests = []string{
	``, ` `, `null`, `"alice"`, `["alice"]`, `{`, `{}`, `{"user"}`, `{"user":}`, `{"user":"alice"`, `{"user":"alice",}`,
	`{"user":"alice"}{}`, `{"user":"alice"} x`, `{"user":"alice"}]`, `{"user" "alice"}`, `{user:"alice"}`, `{'user':'alice'}`,
	`{"user":null}`, `{"user":7}`, `{"user":true}`, `{"user":["alice"]}`, `{"user":{"name":"alice"}}`,
	`{"name":"laptop"}`, `{"user":""}`, `{"user":"alice","role":"admin"}`, `{"user":"alice","User":"bob"}`, `{"USER":"alice"}`,
	`{"user":"alice","user":"bob"}`, `{"user":"alice","name":"a","name":"b"}`,
	`{"user":"al ice"}`, `{"user":"../alice"}`, `{"user":"alice\n"}`, `{"user":"al\u0000ice"}`, `{"user":"\u202ealice"}`,
	`{"user":"` + strings.Repeat("a", 65) + `"}`, `{"user":"alice","name":"` + strings.Repeat("n", 65) + `"}`,
	`{"user":"alice","name":"a\nb"}`, `{"user":"alice","name":"\u001b[2J"}`, `{"user":"alice","name":"\u202e"}`,
	"{\"user\":\"alice\",\"name\":\"\xff\"}", "{\"us\xffer\":\"alice\"}",
	`{"user":"alice"` + strings.Repeat(" ", pairing.MaxMessage) + `}`,
	`{"user":"alice","name":` + strings.Repeat("[", 500) + `}`,
}

func TestParseRequestRefuses(t *testing.T) {
	for _, text := range badRequests {
		got, err := pairing.ParseRequest(pairing.LocalInitial, []byte(text))
		if !errors.Is(err, latchkey.ErrProtocol) || latchkey.CodeOf(err) != latchkey.CodeProtocol || got != (pairing.Request{}) {
			t.Errorf("ParseRequest(%.80q) = %+v, %v; want ErrProtocol", text, got, err)
		}
	}
	for _, mode := range []pairing.Modes{0, 1 << 7, pairing.LocalInitial | 1<<7} {
		if _, err := pairing.ParseRequest(mode, []byte(`{"user":"alice"}`)); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("mode %#x: %v, want ErrProtocol", uint8(mode), err)
		}
		if _, err := (pairing.Request{Mode: mode, User: "alice"}).Encode(); err == nil {
			t.Errorf("mode %#x: encoded", uint8(mode))
		}
	}
}

// What the strict reader takes, a plain JSON decoder understands the same way.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"user":"alice","name":"laptop"}`))
	f.Add([]byte(` {"name":"\u00e9","user":"a.b"} `))
	for _, text := range badRequests {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := pairing.ParseRequest(pairing.LocalInitial, text)
		if err != nil {
			return
		}
		var plain struct{ User, Name string }
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&plain); err != nil || plain.User != got.User || plain.Name != got.Name {
			t.Errorf("%q: read as %+v, otherwise %+v, %v", text, got, plain, err)
		}
		again, err := got.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := pairing.ParseRequest(pairing.LocalInitial, again); err != nil || back != got {
			t.Errorf("%q came back as %+v, %v", again, back, err)
		}
	})
}

func TestReply(t *testing.T) {
	for _, already := range []bool{false, true} {
		want := pairing.Reply{User: "alice", Role: "admin", Already: already}
		code, text, err := want.Encode()
		if err != nil || string(text) != `{"user":"alice","role":"admin"}` {
			t.Fatalf("Encode = %s, %v", text, err)
		}
		if dotted := fmt.Sprintf("%d.%02d", code>>5, code&31); dotted != map[bool]string{false: "2.01", true: "2.04"}[already] {
			t.Errorf("already %v: code %s", already, dotted)
		}
		if got, err := pairing.ReadReply(code, text); err != nil || got != want {
			t.Errorf("ReadReply = %+v, %v; want %+v", got, err, want)
		}
	}
	const more = `{"user":"alice","role":"guest","token":"x","list":[1]}`
	if got, err := pairing.ReadReply(2<<5|1, []byte(more)); err != nil || got != (pairing.Reply{User: "alice", Role: "guest"}) {
		t.Errorf("a newer device's reply = %+v, %v", got, err)
	}
}

func TestReadReplyRefuses(t *testing.T) {
	const good = `{"user":"alice","role":"admin"}`
	for _, tt := range []struct {
		code uint8
		text string
	}{
		{2<<5 | 5, good},
		{4<<5 | 3, good},
		{0, good},
		{2<<5 | 1, ``},
		{2<<5 | 1, `{}`},
		{2<<5 | 1, `{"user":"alice"}`},
		{2<<5 | 1, `{"role":"admin"}`},
		{2<<5 | 1, `{"user":"al\u001b[2Jice","role":"admin"}`},
		{2<<5 | 1, `{"user":"alice","role":"ad\nmin"}`},
		{2<<5 | 1, `{"user":"alice","role":"` + strings.Repeat("r", 64) + `"}`},
		{2<<5 | 1, `{"user":"alice","role":7}`},
		{2<<5 | 1, good + good},
		{2<<5 | 1, good + strings.Repeat(" ", pairing.MaxMessage)},
	} {
		if got, err := pairing.ReadReply(tt.code, []byte(tt.text)); !errors.Is(err, latchkey.ErrProtocol) || got != (pairing.Reply{}) {
			t.Errorf("ReadReply(%d, %.80q) = %+v, %v; want ErrProtocol", tt.code, tt.text, got, err)
		}
	}
}

func TestStatus(t *testing.T) {
	want := pairing.Status{Modes: []string{"local-initial"}, Local: true}
	text, err := want.Encode()
	if err != nil || string(text) != `{"modes":["local-initial"],"paired":false,"local":true}` {
		t.Fatalf("Encode = %s, %v", text, err)
	}
	if got, err := pairing.ReadStatus(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ReadStatus = %+v, %v", got, err)
	}
	for _, text := range []string{``, `[]`, `{"modes":"local-initial"}`, `{"modes":["\u001b[2J"]}`, `{"paired":1}`} {
		if got, err := pairing.ReadStatus([]byte(text)); !errors.Is(err, latchkey.ErrProtocol) {
			t.Errorf("ReadStatus(%s) = %+v, %v; want ErrProtocol", text, got, err)
		}
	}
}
