package client

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
)

func testKey(t testing.TB, b byte) latchkey.Fingerprint {
	t.Helper()
	key, err := latchkey.FingerprintFromBytes([]byte(strings.Repeat(string(rune(b)), latchkey.FingerprintSize)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func openKnown(t testing.TB, path string) *Known {
	t.Helper()
	k, err := OpenKnown(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fullDevice(t testing.TB, alias string) Device {
	t.Helper()
	return Device{
		Alias:          alias,
		ID:             latchkey.DeviceID{Product: "acme", Device: "lamp-7"},
		Key:            testKey(t, 'k'),
		Addrs:          []string{"192.0.2.1:5690", "[fe80::1%eth0]:5690"},
		Basestations:   []string{"base.example.org:443"},
		BasestationKey: testKey(t, 'b'),
		Token:          latchkey.NewConnectToken(),
		User:           "alice",
		Name:           "Küche <1>",
		Added:          time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	}
}

func TestKnownRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "devices.json")
	k := openKnown(t, path)
	if list := k.List(); len(list) != 0 {
		t.Fatalf("a file that is not there holds %v", list)
	}
	want := []Device{fullDevice(t, "a"), {Alias: "b", Key: testKey(t, 'x')}}
	for _, d := range []Device{want[1], want[0]} {
		if err := k.Add(d); err != nil {
			t.Fatal(err)
		}
	}
	for name, k := range map[string]*Known{"same": k, "opened again": openKnown(t, path)} {
		if got := k.List(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: List =\n%+v, want\n%+v", name, got, want)
		}
		got, err := k.Lookup("a")
		if err != nil || !reflect.DeepEqual(got, want[0]) {
			t.Errorf("%s: Lookup = %+v, %v", name, got, err)
		}
		got.Addrs[0] = "changed"
		if got, _ := k.Lookup("a"); got.Addrs[0] == "changed" {
			t.Errorf("%s: a caller's change reached the list", name)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), want[0].Token.Reveal()) {
		t.Errorf("the token is not in the file: %v", err)
	}
	for _, shown := range []string{fmt.Sprintf("%+v", want), fmt.Sprintf("%#v", k)} {
		if strings.Contains(shown, want[0].Token.Reveal()) {
			t.Error("the token prints")
		}
	}
}

func TestKnownAddConflict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	k := openKnown(t, path)
	first := fullDevice(t, "home")
	if err := k.Add(first); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	other := first
	other.Key = testKey(t, 'z')
	err := k.Add(other)
	var identity *latchkey.IdentityError
	if !errors.Is(err, latchkey.ErrConflict) || !errors.As(err, &identity) {
		t.Fatalf("Add of another key = %v, want ErrConflict and *IdentityError", err)
	}
	if identity.Got != other.Key || !slices.Equal(identity.Want, []latchkey.Fingerprint{first.Key}) {
		t.Errorf("the error names %v, want both keys", identity)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file was changed")
	}
	first.Addrs = []string{"192.0.2.9:1"}
	if err := k.Add(first); err != nil {
		t.Errorf("Add of the same key again = %v", err)
	}
	if got, _ := k.Lookup("home"); !reflect.DeepEqual(got, first) {
		t.Errorf("the entry is %+v, want %+v", got, first)
	}
}

func TestKnownTrust(t *testing.T) {
	k := openKnown(t, filepath.Join(t.TempDir(), "devices.json"))
	dev := fullDevice(t, "home")
	if err := k.Add(dev); err != nil {
		t.Fatal(err)
	}
	if err := k.Trust("home", latchkey.Fingerprint{}); err == nil {
		t.Error("the zero key was trusted")
	}
	dev.Key = testKey(t, 'n')
	if err := k.Trust("home", dev.Key); err != nil {
		t.Fatal(err)
	}
	if now, _ := k.Lookup("home"); !reflect.DeepEqual(now, dev) {
		t.Errorf("after Trust: %+v, want %+v", now, dev)
	}
}

func TestKnownUpdate(t *testing.T) {
	k := openKnown(t, filepath.Join(t.TempDir(), "devices.json"))
	if err := k.Add(fullDevice(t, "home")); err != nil {
		t.Fatal(err)
	}
	if err := k.Update("home", func(d *Device) { d.Addrs = append(d.Addrs[:0], "h:1"); d.Name = "Lamp" }); err != nil {
		t.Fatal(err)
	}
	want := fullDevice(t, "home")
	want.Addrs, want.Name = []string{"h:1"}, "Lamp"
	got, _ := k.Lookup("home")
	want.Token = got.Token
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after Update: %+v, want %+v", got, want)
	}
	for name, fn := range map[string]func(*Device){
		"key":   func(d *Device) { d.Key = testKey(t, 'z') },
		"alias": func(d *Device) { d.Alias = "away" },
	} {
		if err := k.Update("home", fn); !errors.Is(err, latchkey.ErrConflict) {
			t.Errorf("Update of the %s = %v, want ErrConflict", name, err)
		}
	}
	if now, _ := k.Lookup("home"); !reflect.DeepEqual(now, got) {
		t.Errorf("a refused Update left %+v", now)
	}
	if err := k.Update("nobody", func(*Device) {}); !errors.Is(err, latchkey.ErrUnknownDevice) {
		t.Errorf("Update of nobody = %v, want ErrUnknownDevice", err)
	}
}

func TestKnownUnknownAlias(t *testing.T) {
	k := openKnown(t, filepath.Join(t.TempDir(), "devices.json"))
	_, err := k.Lookup("home")
	if !errors.Is(err, latchkey.ErrUnknownDevice) || !strings.Contains(err.Error(), "latchkey pair URL") {
		t.Errorf("Lookup in an empty file = %v", err)
	}
	for _, alias := range []string{"lab", "attic"} {
		if err := k.Add(Device{Alias: alias, Key: testKey(t, 'k')}); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{
		"Lookup": second(k.Lookup("home")),
		"Trust":  k.Trust("home", testKey(t, 'k')),
		"Forget": k.Forget("home"),
	} {
		if !errors.Is(err, latchkey.ErrUnknownDevice) || !strings.Contains(err.Error(), "attic, lab") {
			t.Errorf("%s = %v, want ErrUnknownDevice and the aliases there are", name, err)
		}
	}
	if err := k.Forget("lab"); err != nil {
		t.Fatal(err)
	}
	if list := k.List(); len(list) != 1 || list[0].Alias != "attic" {
		t.Errorf("after Forget: %+v", list)
	}
}

func second(_ Device, err error) error { return err }

func TestCheckAlias(t *testing.T) {
	for _, alias := range []string{"a", "0", "home", "lab.1", "a_b-c.d", strings.Repeat("a", 63)} {
		if err := CheckAlias(alias); err != nil {
			t.Errorf("CheckAlias(%q) = %v", alias, err)
		}
	}
	for _, alias := range []string{
		"", ".", "..", "-a", "_a", ".a", "A", "a/b", `a\b`, "a b", "a\n", "ä", "a:b", strings.Repeat("a", 64), "../etc", "a\x00",
	} {
		if CheckAlias(alias) == nil {
			t.Errorf("CheckAlias(%q) accepts it", alias)
		}
		k := openKnown(t, filepath.Join(t.TempDir(), "devices.json"))
		if err := k.Add(Device{Alias: alias, Key: testKey(t, 'k')}); err == nil {
			t.Errorf("Add took alias %q", alias)
		}
	}
}

func TestKnownRefusesBadEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	k := openKnown(t, path)
	for name, spoil := range map[string]func(*Device){
		"no key":            func(d *Device) { d.Key = latchkey.Fingerprint{} },
		"bad id":            func(d *Device) { d.ID.Device = "A B" },
		"address":           func(d *Device) { d.Addrs = []string{"192.0.2.1"} },
		"address to print":  func(d *Device) { d.Basestations = []string{"h\x1b[2J:1"} },
		"many addresses":    func(d *Device) { d.Addrs = make([]string, 33) },
		"user to print":     func(d *Device) { d.User = "alice\nroot" },
		"name to print":     func(d *Device) { d.Name = "lamp\u202e" },
		"name not in UTF-8": func(d *Device) { d.Name = "\xff" },
		"long name":         func(d *Device) { d.Name = strings.Repeat("n", 257) },
	} {
		d := fullDevice(t, "home")
		spoil(&d)
		if k.Add(d) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

func TestOpenKnownNamesTheLine(t *testing.T) {
	key := strings.Repeat("6b", 32)
	entry := func(fields string) string {
		return "{\n  \"version\": 1,\n  \"devices\": [\n    {\n      \"alias\": \"a\",\n      \"key\": \"" + key + "\"" + fields + "\n    }\n  ]\n}\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty file", "", ":1: unexpected end"},
		{"cut", entry("")[:60], "unexpected end"},
		{"not JSON", "\n\n# devices\n", ":3: "},
		{"another shape", "[]", ":1: a JSON object must stand here"},
		{"no version", "{\n\"devices\": []}", `"version" is missing`},
		{"newer version", "{\n\n\"version\": 2, \"devices\": [{\"new\": 1}]}", ":3: field \"version\": version 2"},
		{"unknown field", entry(",\n      \"kye\": 1"), `:7: field "devices": field "kye" is unknown or repeated`},
		{"field twice", entry(",\n      \"key\": \"" + key + "\""), `:7: field "devices": field "key" is unknown or repeated`},
		{"wrong case", entry(",\n      \"User\": \"x\""), `:7: `},
		{"wrong type", entry(",\n      \"user\": 7"), `:7: `},
		{"comma", entry(",\n      \"user\": \"u\",,"), `:7: `},
		{"short key", strings.Replace(entry(""), key, key[:20], 1), `:6: field "devices": field "key": latchkey: a fingerprint`},
		{"bad token", entry(",\n\n      \"token\": \"canary-token\""), `:8: field "devices": field "token": latchkey: not a connect token`},
		{"bad alias", strings.Replace(entry(""), `"a"`, `"A"`, 1), `:7: field "devices": client: an alias`},
		{"alias twice", "{\"version\": 1, \"devices\": [\n{\"alias\":\"a\",\"key\":\"" + key + "\"},\n{\"alias\":\"a\",\"key\":\"" + key + "\"}]}", `alias "a" stands there twice`},
		{"more after it", entry("") + "{}", "after top-level value"},
	} {
		path := filepath.Join(t.TempDir(), "devices.json")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKnown(path)
		if err == nil || !strings.Contains(err.Error(), path+":") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: OpenKnown = %v, want %s", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows a secret: %v", tt.name, err)
		}
		k := &Known{path: path}
		if k.Add(Device{Alias: "b", Key: testKey(t, 'k')}) == nil {
			t.Errorf("%s: Add wrote over a damaged file", tt.name)
		}
		if after, _ := os.ReadFile(path); string(after) != tt.text {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
}

func TestKnownKeepsLastGoodList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	k := openKnown(t, path)
	if err := k.Add(fullDevice(t, "home")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := k.List(); len(list) != 1 {
		t.Errorf("List = %v", list)
	}
	if _, err := k.Lookup("home"); err == nil {
		t.Error("Lookup did not report the damage")
	}
}

// helperPath tells a copy of the test program to be another process.
const helperPath, helperName = "LATCHKEY_TEST_KNOWN", "LATCHKEY_TEST_NAME"

// TestKnownHelperProcess adds 50 devices when it is run by
// TestKnownTwoProcesses.
func TestKnownHelperProcess(t *testing.T) {
	path := os.Getenv(helperPath)
	if path == "" {
		return
	}
	k := openKnown(t, path)
	for i := range 50 {
		if err := k.Add(Device{Alias: fmt.Sprintf("%s-%02d", os.Getenv(helperName), i), Key: testKey(t, 'k')}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKnownTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "devices.json")
	names := []string{"one", "two"}
	var group sync.WaitGroup
	for _, name := range names {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKnownHelperProcess$")
		cmd.Env = append(os.Environ(), helperPath+"="+path, helperName+"="+name)
		group.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		})
	}
	group.Go(func() { // and a reader, which must always see a whole file
		for range 200 {
			if _, err := OpenKnown(path); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	k := openKnown(t, path)
	for _, name := range names {
		for i := range 50 {
			if _, err := k.Lookup(fmt.Sprintf("%s-%02d", name, i)); err != nil {
				t.Error(err)
			}
		}
	}
	if list := k.List(); len(list) != 100 {
		t.Errorf("%d devices, want 100", len(list))
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind %v, %v; want the file and its lock", entries, err)
	}
}

func TestKnownModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // modes say nothing there
	}
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "devices.json")
	k := openKnown(t, path)
	if err := k.Add(fullDevice(t, "home")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + ".lock": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKnown(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v, want the fix", mode, err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Symlink(path+".lock", path)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKnown(path); err == nil {
		t.Error("a symbolic link was accepted")
	}
}

func FuzzParseKnown(f *testing.F) {
	path := filepath.Join(f.TempDir(), "devices.json")
	k := openKnown(f, path)
	for _, d := range []Device{fullDevice(f, "home"), {Alias: "b", Key: testKey(f, 'k')}} {
		if err := k.Add(d); err != nil {
			f.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"devices":[]}`))
	f.Add([]byte(`{"devices":[{"alias":null}],"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, offset, err := parseKnown(text)
		if err != nil {
			if offset < 0 || offset > int64(len(text)) {
				t.Errorf("offset %d in %d bytes", offset, len(text))
			}
			return
		}
		out := filepath.Join(t.TempDir(), "devices.json")
		if err := writeKnown(out, list); err != nil {
			t.Fatal(err)
		}
		again, err := readKnown(out)
		if err != nil || !reflect.DeepEqual(again, list) {
			t.Errorf("wrote %+v, read %+v, %v", list, again, err)
		}
	})
}
