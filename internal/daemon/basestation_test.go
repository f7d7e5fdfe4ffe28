package daemon

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// farDir is initDir with a basestation at an address where nobody answers.
func farDir(t *testing.T) (dir, addr string) {
	t.Helper()
	addr = occupied(t)
	dir = filepath.Join(shortDir(t), "d")
	made, err := Init(Setup{Dir: dir, Listen: "127.0.0.1:0", Basestations: []string{addr}, BasestationKey: someKey})
	check(t, err)
	edit(t, dir, "discovery: true", "discovery: false")
	if readURL(t, made.PairingURL).Token.IsZero() {
		t.Error("init printed a URL without a connect token")
	}
	return dir, addr
}

func readURL(t *testing.T, text string) *latchkey.PairingURL {
	t.Helper()
	u, err := latchkey.ParsePairingURL(text)
	check(t, err)
	return u
}

// TestPairingURLOfABasestation: it says where to meet the device, and brings a
// connect token of its own each time, of which the store has the hash.
func TestPairingURLOfABasestation(t *testing.T) {
	for _, running := range []bool{false, true} {
		dir, addr := farDir(t)
		if running {
			start(t, dir)
		}
		c := control(t, dir)
		tokens := map[string]bool{}
		for range 2 {
			text, err := c.PairingURL(t.Context())
			check(t, err)
			u := readURL(t, text)
			if len(u.Basestations) != 1 || u.Basestations[0] != addr || u.BasestationKey.String() != someKey || u.Token.IsZero() {
				t.Errorf("running %v: %s", running, u)
			}
			tokens[u.Token.Reveal()] = true
		}
		if len(tokens) != 2 {
			t.Errorf("running %v: two URLs have the same connect token", running)
		}
	}
}

func TestInitStoresTheHashOfItsToken(t *testing.T) {
	dir, _ := farDir(t)
	store, err := acl.Open(filepath.Join(dir, device.AccessFile))
	check(t, err)
	defer store.Close()
	check(t, store.View(func(tx *acl.Tx) error {
		if text, ok := tx.Setting("bootstrap-tokens"); !ok || text == "[]" {
			t.Errorf("bootstrap tokens %q", text)
		}
		return nil
	}))
}

// awaitState waits until the daemon says that it stands so with its basestation.
func awaitState(t *testing.T, c *Control, want string) {
	t.Helper()
	var last Attachment
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		st, err := c.Status(t.Context())
		check(t, err)
		if last = st.Basestation; last.State == want {
			return
		}
	}
	t.Fatalf("basestation: %+v, want %s", last, want)
}

// TestSwitchToOwnNetwork: without addresses the daemon leaves its basestation,
// with them it looks for it again.
func TestSwitchToOwnNetwork(t *testing.T) {
	dir, addr := farDir(t)
	stopped, err := OpenControl(t.Context(), dir)
	check(t, err)
	st, err := stopped.Status(t.Context())
	check(t, err)
	check(t, stopped.Close())
	if b := st.Basestation; b.State != "stopped" || len(b.Addrs) != 1 || b.Addrs[0] != addr {
		t.Errorf("stopped: %+v", b)
	}
	r := start(t, dir)
	c := control(t, dir)
	for _, step := range []struct{ old, text, want string }{
		{`addresses: ["` + addr + `"]`, "addresses: []", "off"},
		{"addresses: []", "addresses: [" + addr + "]", "connecting"},
	} {
		edit(t, dir, step.old, step.text)
		r.hup(t, "reloaded")
		awaitState(t, c, step.want)
		url, err := c.PairingURL(t.Context())
		check(t, err)
		if u := readURL(t, url); (step.want == "off") != (u.Token.IsZero() && len(u.Basestations) == 0) {
			t.Errorf("%s: %s", step.want, u)
		}
	}
}
