package acl

import (
	"strings"
	"testing"
)

func TestCheckUserName(t *testing.T) {
	for _, name := range []string{
		"a", "alice", "Alice", "alice.b", "alice_b", "alice-b", "alice@example.org", "7of9", "Zoë", "Łukasz",
		"Алиса", "Αλίκη", "アリス", "愛", "앨리스", "山\ufa11", "ソー", "佐々木", strings.Repeat("a", 64), strings.Repeat("ä", 64),
	} {
		if err := CheckUserName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-a", "@a", "_a", "../a", "a/b", `a\b`, "a b", "a\nb", "a\x00", "a\x7f", "a*", "**", "${a}", "a:b", "a%2f",
		"a\u200b", "a\u202eb", "a\ufeff", "\xff", "a\xffb", "e\u0301", "a\u00a0b", "a🙂",
		"e\u0301", "\u110b\u1162", "\u1f71", "\uf900", "\U0002f800", "\u212b", "\ufb01", "\U0001d41a", "\uff41", "a\u00aa", "a\u00b5", "a\u00ba", "\u01c4", "a\uff11",
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

// The table is in the order that a search in it relies on.
func TestOtherForms(t *testing.T) {
	last := rune(-1)
	for _, r := range otherForms.R16 {
		if rune(r.Lo) <= last || r.Hi < r.Lo || (r.Hi-r.Lo)%r.Stride != 0 {
			t.Errorf("range from %04x", r.Lo)
		}
		last = rune(r.Hi)
	}
	for _, r := range otherForms.R32 {
		if rune(r.Lo) <= last || r.Hi < r.Lo || (r.Hi-r.Lo)%r.Stride != 0 {
			t.Errorf("range from %04x", r.Lo)
		}
		last = rune(r.Hi)
	}
}

// Names from before a rule stay good for the users who have them.
func TestOldNames(t *testing.T) {
	const old = "a\uff11"
	s := newStore(t)
	if err := s.Update(func(tx *Tx) error { return tx.AddUser(User{Name: old, Role: RoleGuest}) }); err == nil {
		t.Error("a new user has the name")
	}
	update(t, s, func(tx *Tx) error { return tx.putUser(User{Name: old, Role: RoleGuest}) })
	s = reopen(t, s)
	update(t, s, func(tx *Tx) error { return tx.SetRole(old, RoleUser) })
	update(t, s, func(tx *Tx) error { return tx.RenameUser(old, "a1") })
	if err := s.Update(func(tx *Tx) error { return tx.RenameUser("a1", old) }); err == nil {
		t.Error("the name was given again")
	}
}
