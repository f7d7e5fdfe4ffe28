package acl

import (
	"strings"
	"testing"
)

func TestCheckUserName(t *testing.T) {
	for _, name := range []string{
		"a", "alice", "Alice", "alice.b", "alice_b", "alice-b", "alice@example.org", "7of9", "Zoë", "Łukasz",
		"Алиса", "Αλίκη", "アリス", "愛", "앨리스", strings.Repeat("a", 64), strings.Repeat("ä", 64),
	} {
		if err := CheckUserName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-a", "@a", "_a", "../a", "a/b", `a\b`, "a b", "a\nb", "a\x00", "a\x7f", "a*", "**", "${a}", "a:b", "a%2f",
		"a\u200b", "a\u202eb", "a\ufeff", "\xff", "a\xffb", "e\u0301", "a\u00a0b", "a🙂",
		"аlice", "pаypal", "Αlice", strings.Repeat("a", 65), strings.Repeat("ä", 65),
	} {
		if err := CheckUserName(name); err == nil {
			t.Errorf("%q: accepted", name)
		}
	}
}

func TestFoldName(t *testing.T) {
	for _, twins := range [][2]string{{"alice", "ALICE"}, {"Zoë", "zOË"}, {"k", "\u212a"}, {"ς", "Σ"}, {"ſ", "s"}} {
		if foldName(twins[0]) != foldName(twins[1]) {
			t.Errorf("%q and %q differ", twins[0], twins[1])
		}
	}
	for _, others := range [][2]string{{"alice", "alicf"}, {"a.b", "ab"}, {"ı", "i"}} {
		if foldName(others[0]) == foldName(others[1]) {
			t.Errorf("%q and %q are one", others[0], others[1])
		}
	}
}
