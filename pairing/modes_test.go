package pairing_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/latchkey-dev/latchkey/pairing"
)

func TestModesText(t *testing.T) {
	for _, tt := range []struct {
		modes        pairing.Modes
		text, string string
		names        []string
	}{
		{0, "", "none", []string{}},
		{pairing.LocalInitial, "local-initial", "local-initial", []string{"local-initial"}},
		{pairing.LocalOpen, "local-open", "local-open", []string{"local-open"}},
		{pairing.PasswordOpen | pairing.Invite, "password-open,invite", "password-open,invite", []string{"password-open", "invite"}},
	} {
		text, err := tt.modes.MarshalText()
		if err != nil || string(text) != tt.text {
			t.Errorf("MarshalText = %q, %v; want %q", text, err, tt.text)
		}
		back := pairing.Modes(0xff)
		if err := back.UnmarshalText(text); err != nil || back != tt.modes {
			t.Errorf("UnmarshalText(%q) = %v, %v", text, back, err)
		}
		if tt.modes.String() != tt.string || !slices.Equal(tt.modes.Names(), tt.names) || tt.modes.Names() == nil {
			t.Errorf("String %q, Names %q", tt.modes, tt.modes.Names())
		}
		if got, err := pairing.ParseModes(tt.names...); err != nil || got != tt.modes {
			t.Errorf("ParseModes(%q) = %v, %v", tt.names, got, err)
		}
	}
	doc, err := json.Marshal(map[string]pairing.Modes{"pairing": pairing.LocalInitial})
	if err != nil || string(doc) != `{"pairing":"local-initial"}` {
		t.Errorf("Marshal = %s, %v", doc, err)
	}
}

func TestParseModeRefuses(t *testing.T) {
	for _, name := range []string{"", "none", "open", "Local-Initial", "local_initial", " local-initial", "local-initial,", "password", "custom"} {
		if m, err := pairing.ParseMode(name); err == nil || m != 0 {
			t.Errorf("ParseMode(%q) = %v, %v; want an error", name, m, err)
		}
	}
	kept := pairing.LocalInitial
	for _, text := range []string{",", "local-initial,", "none", "local-initial,nonsense"} {
		if err := kept.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("UnmarshalText(%q) accepted", text)
		}
	}
	if kept != pairing.LocalInitial {
		t.Error("a refused text changed the set")
	}
}
