package device

import (
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// The network hears the same name after a rename as when it was first told.
func TestRenameTellsTheNameThatIsShown(t *testing.T) {
	s := &server{id: latchkey.DeviceID{Product: "acme", Device: "gw-7"}}
	if err := s.rename("Attic"); err != nil {
		t.Fatalf("not announced yet: %v", err)
	}
	var told string
	s.announce.tell = func(name string) error {
		told = name
		return nil
	}
	for name, want := range map[string]string{"Kitchen": "Kitchen", "": "acme/gw-7"} {
		if err := s.rename(name); err != nil || told != want || s.name() != want {
			t.Errorf("rename %q: told %q, shown %q, want %q: %v", name, told, s.name(), want, err)
		}
	}
}
