package discover

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"Küche 1.2":               "Küche 1.2",
		"a\x1b[2Jb":               "a\ufffd[2Jb",
		"a\r\nb\x00\x7f":          "a\ufffd\ufffdb\ufffd\ufffd",
		"abc\u202edef\u200b":      "abc\ufffddef\ufffd",
		"\xff\xc3":                "\ufffd\ufffd",
		"\u0085\u2028":            "\ufffd\ufffd",
		strings.Repeat("ä", 100):  strings.Repeat("ä", MaxName/2),
		strings.Repeat("\xff", 9): strings.Repeat("\ufffd", 9),
	} {
		if got := printable(in, MaxName); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := printable("aä", 2); got != "a" {
		t.Errorf("cut inside a character: %q", got)
	}
}

func TestInstanceLabel(t *testing.T) {
	for _, tt := range []struct{ name, suffix, want string }{
		{"Lamp", "", "Lamp"},
		{"Küche v1.2", "", "Küche v1-2"},
		{"acme/lamp-7", "", "acme/lamp-7"},
		{"Lamp", "8d47e7465d8f", "Lamp 8d47e7465d8f"},
		{strings.Repeat("n", 64), "", strings.Repeat("n", 63)},
		{strings.Repeat("ä", 40), "", strings.Repeat("ä", 31)},
		{strings.Repeat("ä", 40), "8d47e7465d8f", strings.Repeat("ä", 25) + " 8d47e7465d8f"},
	} {
		if got := instanceLabel(tt.name, tt.suffix); got != tt.want || len(got) > maxLabel {
			t.Errorf("instanceLabel(%q, %q) = %q, want %q", tt.name, tt.suffix, got, tt.want)
		}
	}
}

func TestTXT(t *testing.T) {
	info := newInfo(t, "Küche = 1")
	text := encodeTXT(info)
	got, ok := decodeTXT(text)
	if !ok || got.ID != info.ID || got.Name != info.Name || got.Key != info.Key {
		t.Fatalf("decodeTXT(%q) = %+v, %v", text, got, ok)
	}
	key := "k=" + info.Key.String()
	for name, tt := range map[string]struct {
		text []string
		want string // name; "": refused
	}{
		"other order, unknown keys":  {[]string{key, "x=y", "flag", "", "name=n", "v=1", "id=a/b"}, "n"},
		"keys in capitals":           {[]string{"V=1", "ID=a/b", "K=" + info.Key.String(), "Name=n"}, "n"},
		"the first of a key":         {[]string{"v=1", "id=a/b", key, "name=n", "name=m", "k=x"}, "n"},
		"no name":                    {[]string{"v=1", "id=a/b", key}, "b"},
		"name that cannot be shown":  {[]string{"v=1", "id=a/b", key, "name=\x1b[2J"}, "\ufffd[2J"},
		"long name":                  {[]string{"v=1", "id=a/b", key, "name=" + strings.Repeat("n", 250)}, strings.Repeat("n", MaxName)},
		"empty":                      {nil, ""},
		"no version":                 {[]string{"id=a/b", key}, ""},
		"another version":            {[]string{"v=2", "id=a/b", key}, ""},
		"no id":                      {[]string{"v=1", key}, ""},
		"bad id":                     {[]string{"v=1", "id=A/b", key}, ""},
		"id that cannot be shown":    {[]string{"v=1", "id=a/b\n", key}, ""},
		"no key":                     {[]string{"v=1", "id=a/b"}, ""},
		"short key":                  {[]string{"v=1", "id=a/b", key[:20]}, ""},
		"key in capitals":            {[]string{"v=1", "id=a/b", "k=" + strings.ToUpper(info.Key.String())}, ""},
		"a bad one hides a good one": {[]string{"v=1", "id=a/b", "k=x", key}, ""},
	} {
		got, ok := decodeTXT(tt.text)
		if ok != (tt.want != "") || got.Name != tt.want || !ok && got.Key != (latchkey.Fingerprint{}) {
			t.Errorf("%s: decodeTXT = %+v, %v; want name %q", name, got, ok, tt.want)
		}
	}
}

func TestLinkHearsAndReaches(t *testing.T) {
	loop := newLink(1, 1<<2, "127.0.0.1/8", "::1/128") // net.FlagLoopback
	for _, tt := range []struct {
		link           *link
		addr           string
		hears, reaches bool
	}{
		{lan(), "192.0.2.77", true, true},
		{lan(), "::ffff:192.0.2.77", true, true},
		{lan(), "169.254.3.4", true, true},
		{lan(), "2001:db8::77", true, true},
		{lan(), "fe80::77", true, true},
		{lan(), "fe80::77%lan0", true, true},
		{lan(), "198.51.100.1", false, false},
		{lan(), "2001:db8:1::1", false, false},
		{lan(), "8.8.8.8", false, false},
		{lan(), "127.0.0.1", false, false},
		{lan(), "::1", false, false},
		{lan(), "0.0.0.0", false, false},
		{lan(), "::", false, false},
		{lan(), "224.0.0.251", false, false},
		{lan(), "ff02::fb", false, false},
		{loop, "127.0.0.2", true, true},
		{loop, "::1", true, true},
		{loop, "192.0.2.1", false, false},
	} {
		a := netip.MustParseAddr(tt.addr)
		if got := tt.link.hears(a); got != tt.hears {
			t.Errorf("%v hears %s: %v", tt.link.prefixes, a, got)
		}
		if got := tt.link.reaches(a); got != tt.reaches {
			t.Errorf("%v reaches %s: %v", tt.link.prefixes, a, got)
		}
	}
}

func TestNewAnnouncerRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Info){
		"no id":            func(i *Info) { i.ID = latchkey.DeviceID{} },
		"no key":           func(i *Info) { i.Key = latchkey.Fingerprint{} },
		"no address":       func(i *Info) { i.Addrs = nil },
		"invalid address":  func(i *Info) { i.Addrs[0] = netip.AddrPort{} },
		"port 0":           func(i *Info) { i.Addrs[0] = netip.AddrPortFrom(i.Addrs[0].Addr(), 0) },
		"two ports":        func(i *Info) { i.Addrs[1] = netip.AddrPortFrom(i.Addrs[1].Addr(), 1) },
		"long name":        func(i *Info) { i.Name = strings.Repeat("n", MaxName+1) },
		"name with escape": func(i *Info) { i.Name = "\x1b[2J" },
		"name not UTF-8":   func(i *Info) { i.Name = "\xff" },
	} {
		info := newInfo(t, "Lamp")
		spoil(&info)
		if a, err := NewAnnouncer(info, Options{}); err == nil || a != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a, err := NewAnnouncer(newInfo(t, ""), Options{})
	if err != nil || a.currentName() != "lamp-7" {
		t.Errorf("without a name: %v, %v", a, err)
	}
	for _, name := range []string{strings.Repeat("n", MaxName+1), "a\nb", "\xff"} {
		if a.SetName(name) == nil || a.currentName() != "lamp-7" {
			t.Errorf("SetName(%q) accepted", name)
		}
	}
}

// isPlain reports whether a text may be printed on a terminal as it is.
func isPlain(s string) bool { return utf8.ValidString(s) && s == printable(s, MaxName) }
