package latchkey_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

const otherFingerprint = "abababababababababababababababababababababababababababababababab"

func mustFingerprint(t testing.TB, s string) latchkey.Fingerprint {
	t.Helper()
	f, err := latchkey.ParseFingerprint(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func fullPairingURL(t testing.TB) *latchkey.PairingURL {
	t.Helper()
	return &latchkey.PairingURL{
		ID:             latchkey.DeviceID{Product: "acme", Device: "lamp-7"},
		Key:            mustFingerprint(t, vectorFingerprint),
		Addrs:          []string{"192.0.2.1:5690", "[2001:db8::1]:5690", "[fe80::1%eth0]:5690", "lamp.local:5690"},
		Basestations:   []string{"base.example.org:443", "198.51.100.7:5684"},
		BasestationKey: mustFingerprint(t, otherFingerprint),
		User:           "alice",
		Invite:         "Zm9v-_YmFy",
		Password:       latchkey.NewSecret("&=+ %#?/\"ü\n"),
		Token:          canaryToken(t),
	}
}

func TestPairingURLFormat(t *testing.T) {
	u := fullPairingURL(t)
	u.Password = latchkey.NewSecret("hunter2&co")
	const head = "latchkey://acme/lamp-7?k=" + vectorFingerprint +
		"&a=192.0.2.1:5690&a=[2001:db8::1]:5690&a=[fe80::1%25eth0]:5690&a=lamp.local:5690" +
		"&b=base.example.org:443&b=198.51.100.7:5684&bk=" + otherFingerprint + "&u=alice&i=Zm9v-_YmFy"
	if got, want := u.Reveal(), head+"&p=hunter2%26co&t="+canary; got != want {
		t.Errorf("Reveal =\n%s, want\n%s", got, want)
	}
	if got, want := u.String(), head+"&p=REDACTED&t=REDACTED"; got != want {
		t.Errorf("String =\n%s, want\n%s", got, want)
	}
	if text, err := json.Marshal(u); err != nil || strings.Contains(string(text), canary) {
		t.Errorf("as JSON = %s, %v", text, err)
	}
}

func TestPairingURLRoundTrip(t *testing.T) {
	full := fullPairingURL(t)
	for name, u := range map[string]*latchkey.PairingURL{
		"id alone":  {ID: full.ID},
		"as shown":  {ID: full.ID, Key: full.Key, Addrs: full.Addrs},
		"all there": full,
	} {
		got, err := latchkey.ParsePairingURL(u.Reveal())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, u) {
			t.Errorf("%s: read back as\n%s, want\n%s", name, got.Reveal(), u.Reveal())
		}
	}
}

func TestParsePairingURLAccepts(t *testing.T) {
	for name, s := range map[string]string{
		"any order":             "latchkey://acme/lamp-7?a=192.0.2.1:5690&k=" + vectorFingerprint,
		"percent encoded":       "latchkey://acme/lamp-7?k=" + vectorFingerprint + "&a=192.0.2.1%3A5690",
		"upper-case scheme":     "LATCHKEY://acme/lamp-7?k=" + vectorFingerprint + "&a=192.0.2.1:5690",
		"no parameter but a ?":  "latchkey://acme/lamp-7?",
		"no parameter":          "latchkey://acme/lamp-7",
		"port bounds":           "latchkey://acme/lamp-7?a=192.0.2.1:1&a=192.0.2.1:65535",
		"sixteen addresses":     "latchkey://acme/lamp-7?a=h:1" + strings.Repeat("&a=h:1", 15),
		"user as people say it": "latchkey://acme/lamp-7?u=j%C3%BCrgen",
	} {
		if u, err := latchkey.ParsePairingURL(s); err != nil || u.ID.String() != "acme/lamp-7" {
			t.Errorf("%s: %v, %v", name, u, err)
		}
	}
}

// badPairingURLs all carry the canary where a secret could stand.
var badPairingURLs = map[string]string{
	"empty":                "",
	"id alone":             "acme/lamp-7",
	"another scheme":       "https://acme/lamp-7?t=" + canary,
	"no authority":         "latchkey:acme/lamp-7?t=" + canary,
	"one part":             "latchkey://acme?t=" + canary,
	"three parts":          "latchkey://acme/lamp-7/x?t=" + canary,
	"slash at the end":     "latchkey://acme/lamp-7/?t=" + canary,
	"upper-case id":        "latchkey://Acme/lamp-7?t=" + canary,
	"encoded slash":        "latchkey://acme/lamp%2F7?t=" + canary,
	"port":                 "latchkey://acme:80/lamp-7?t=" + canary,
	"user info":            "latchkey://user:" + canary + "@acme/lamp-7",
	"fragment":             "latchkey://acme/lamp-7?t=" + canary + "#" + canary,
	"control character":    "latchkey://acme/lamp-7?t=" + canary + "\n",
	"bad escape":           "latchkey://acme/lamp-7?p=%zz" + canary,
	"semicolon":            "latchkey://acme/lamp-7?p=a;" + canary,
	"unknown parameter":    "latchkey://acme/lamp-7?p=half&" + canary,
	"unknown twice":        "latchkey://acme/lamp-7?p=half&" + canary + "&" + canary,
	"unknown with value":   "latchkey://acme/lamp-7?" + canary + "=" + canary,
	"upper-case name":      "latchkey://acme/lamp-7?T=" + canary,
	"empty key":            "latchkey://acme/lamp-7?k=",
	"short key":            "latchkey://acme/lamp-7?k=" + vectorFingerprint[:20],
	"upper-case key":       "latchkey://acme/lamp-7?k=" + strings.ToUpper(vectorFingerprint),
	"two keys":             "latchkey://acme/lamp-7?k=" + vectorFingerprint + "&k=" + otherFingerprint,
	"two passwords":        "latchkey://acme/lamp-7?p=" + canary + "&p=" + canary,
	"two tokens":           "latchkey://acme/lamp-7?t=" + canary + "&t=" + canary,
	"long token":           "latchkey://acme/lamp-7?t=" + canary + "A",
	"token with a break":   "latchkey://acme/lamp-7?t=" + canary + "%0A",
	"empty token":          "latchkey://acme/lamp-7?t=",
	"bad basestation key":  "latchkey://acme/lamp-7?bk=" + canary,
	"address without port": "latchkey://acme/lamp-7?a=192.0.2.1",
	"address without host": "latchkey://acme/lamp-7?a=:5690",
	"port 0":               "latchkey://acme/lamp-7?a=192.0.2.1:0",
	"port 65536":           "latchkey://acme/lamp-7?a=192.0.2.1:65536",
	"named port":           "latchkey://acme/lamp-7?a=192.0.2.1:" + canary,
	"signed port":          "latchkey://acme/lamp-7?a=192.0.2.1:+5690",
	"bare IPv6":            "latchkey://acme/lamp-7?a=2001:db8::1:5690",
	"break in a host":      "latchkey://acme/lamp-7?a=h%0Ai:1",
	"space in a host":      "latchkey://acme/lamp-7?a=h%20i:1",
	"escape in a host":     "latchkey://acme/lamp-7?a=%1B[2J:1",
	"slash in a host":      "latchkey://acme/lamp-7?b=h/i:1",
	"long host":            "latchkey://acme/lamp-7?a=" + strings.Repeat("h", 254) + ":1",
	"break in a user":      "latchkey://acme/lamp-7?u=alice%0A",
	"user not UTF-8":       "latchkey://acme/lamp-7?u=%FF",
	"break in an invite":   "latchkey://acme/lamp-7?i=a%0Ab",
	"17 addresses":         "latchkey://acme/lamp-7?a=h:1" + strings.Repeat("&a=h:1", 16),
	"over 2 KiB":           "latchkey://acme/lamp-7?p=" + strings.Repeat("x", 2048),
}

func TestParsePairingURLRefuses(t *testing.T) {
	for name, s := range badPairingURLs {
		u, err := latchkey.ParsePairingURL(s)
		if err == nil || u != nil {
			t.Errorf("%s: accepted %q", name, s)
			continue
		}
		for _, secret := range []string{canary, vectorFingerprint, "half", "REDACTED"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error echoes %q: %v", name, secret, err)
			}
		}
	}
}

func FuzzParsePairingURL(f *testing.F) {
	f.Add(fullPairingURL(f).Reveal())
	for _, s := range badPairingURLs {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := latchkey.ParsePairingURL(s)
		if err != nil {
			if strings.Contains(s, canary) && strings.Contains(err.Error(), canary) {
				t.Errorf("the error echoes its input: %v", err)
			}
			return
		}
		again, err := latchkey.ParsePairingURL(u.Reveal())
		if err != nil && len(u.Reveal()) > 2048 {
			return // escaping made it longer than any URL that is read
		}
		if err != nil {
			t.Fatalf("%q was accepted, but its own spelling %q is not: %v", s, u.Reveal(), err)
		}
		if !reflect.DeepEqual(again, u) || again.Reveal() != u.Reveal() {
			t.Errorf("%q came back as %q", u.Reveal(), again.Reveal())
		}
		other := *u // the same but for its secrets: must look the same
		if !u.Password.IsZero() {
			other.Password = latchkey.NewSecret("another password")
		}
		if !u.Token.IsZero() {
			other.Token = latchkey.NewConnectToken()
		}
		if other.String() != u.String() {
			t.Errorf("%q shows its secrets", u.String())
		}
		for _, c := range u.String() {
			if c < ' ' || c == 0x7f {
				t.Errorf("control character %q in %q", c, u.String())
			}
		}
	})
}

func ExampleParsePairingURL() {
	u, err := latchkey.ParsePairingURL("latchkey://acme/lamp-7?k=" + vectorFingerprint + "&a=192.0.2.1:5690&p=correct+horse")
	if err != nil {
		panic(err)
	}
	fmt.Println(u.ID, u.Key.Short(), u.Addrs)
	fmt.Println(u.Password)
	// Output:
	// acme/lamp-7 8d47e7465d8f [192.0.2.1:5690]
	// REDACTED
}
