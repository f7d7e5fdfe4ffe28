package device

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// FuzzReadForm: what is taken is an object that encoding/json reads alike.
func FuzzReadForm(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"name":"x"}`, `{"name":"x","list":["a"],"when":"2026-01-02T03:04:05Z","on":true}`, `{"name":null}`, `{"name":"a","name":"b"}`, `{"list":[null]}`, `{}{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want struct {
			Name string    `json:"name"`
			List []string  `json:"list"`
			When time.Time `json:"when"`
			On   bool      `json:"on"`
		}
		there, err := readForm(text, fields{"name": &got.Name}, fields{"list": &got.List, "when": &got.When, "on": &got.On})
		if err != nil {
			if !errors.Is(err, latchkey.ErrProtocol) && !errors.Is(err, latchkey.ErrTooLarge) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q was taken: %v", text, err)
		}
		if !there["name"] || got.Name != want.Name || len(got.List) != len(want.List) || !got.When.Equal(want.When) || got.On != want.On {
			t.Errorf("%q: read %+v, want %+v", text, got, want)
		}
	})
}
