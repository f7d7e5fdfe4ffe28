package form

import "testing"

func TestRead(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"name":"x"}`: true, ` {"list":["a","b"],"name":""} `: true,
		``: false, `null`: false, `[]`: false, `"name"`: false, `{"name":"x"`: false, `{"name":}`: false, `{"name"}`: false,
		`{"Name":"x"}`: false, `{"other":"x"}`: false, `{"name":"x","name":"x"}`: false, `{"name":"x"}{}`: false, `{"name":"x"} x`: false,
		`{"name":null}`: false, `{"list":[null]}`: false, `{"list":["a",[null]]}`: false, `{"name":1}`: false, `{"name":{"name":"x"}}`: false,
		"{\"name\":\"\xff\"}": false,
	} {
		var name string
		var list []string
		there, err := Read([]byte(text), map[string]any{"name": &name, "list": &list})
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && (there["name"] != (text != `{}`) || there["other"]) {
			t.Errorf("%q: there are %v", text, there)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]bool{"": true, "Küche 2": true, "a\nb": false, "a\x00": false, "\xff": false, "\u202e": false} {
		if Printable(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
