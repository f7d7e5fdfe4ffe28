package latchkey_test

import (
	"encoding/json"
	"strings"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

func TestDeviceID(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, s := range []string{"a/b", "0/9", "acme/lamp-7", long + "/" + long, "a-/b--"} {
		id, err := latchkey.ParseDeviceID(s)
		if err != nil || id.String() != s || !id.Valid() {
			t.Errorf("ParseDeviceID(%q) = %q, %v", s, id, err)
		}
		var back latchkey.DeviceID
		text, err := json.Marshal(id)
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back != id {
			t.Errorf("%q through JSON = %q, %v", s, back, err)
		}
	}
	for _, s := range []string{
		"", "/", "a", "a/", "/b", "a/b/c", "-a/b", "a/-b", "A/b", "a/B", "a b/c", "a/b ", "a/b\n", "ä/b", "a/b.c",
		"a/../b", "a\x00/b", long + "a/b", "a/" + long + "a", "a%2Fb", "a_b/c",
	} {
		if id, err := latchkey.ParseDeviceID(s); err == nil || id != (latchkey.DeviceID{}) {
			t.Errorf("ParseDeviceID(%q) = %q, %v; want an error", s, id, err)
		}
	}
}

func TestDefaultDeviceID(t *testing.T) {
	f, _ := latchkey.ParseFingerprint(vectorFingerprint)
	id := latchkey.DefaultDeviceID(f)
	if want := "local/" + vectorFingerprint[:20]; id.String() != want || !id.Valid() {
		t.Errorf("DefaultDeviceID = %q, want %q", id, want)
	}
}

func TestZeroDeviceID(t *testing.T) {
	var zero latchkey.DeviceID
	if zero.Valid() || zero.String() != "" {
		t.Errorf("zero DeviceID = %q, valid %v", zero, zero.Valid())
	}
}
