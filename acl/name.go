package acl

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckUserName returns nil for a name that a new user may have: 1 to 64 letters,
// digits and . _ @ -, the first of them a letter or digit. Letters come from any
// one alphabet, but not mixed from alphabets that look alike, and in the one form
// that Unicode normalizes to. Names that differ only in case are one name to
// people, so a store holds only one of them.
func CheckUserName(name string) error {
	if err := checkStoredName(name); err != nil {
		return err
	}
	for _, c := range name {
		if unicode.Is(otherForms, c) {
			return mistake("user name %q: %q can be written another way, use that", name, c)
		}
	}
	return nil
}

// checkStoredName checks the name of a user who is there already, perhaps since a
// version that was less strict.
func checkStoredName(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > 64 || !utf8.ValidString(name) {
		return mistake("a user name has 1 to 64 characters of valid UTF-8")
	}
	first := true
	for _, c := range name {
		plain := unicode.IsLetter(c) || unicode.IsDigit(c)
		if !plain && (first || !strings.ContainsRune("._@-", c)) {
			return mistake("user name %q: letters, digits and . _ @ - are possible, and the first is a letter or digit", name)
		}
		first = false
	}
	alphabets := 0
	for _, table := range []*unicode.RangeTable{unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Cherokee} {
		if strings.ContainsFunc(name, func(c rune) bool { return unicode.Is(table, c) }) {
			alphabets++
		}
	}
	if alphabets > 1 {
		return mistake("user name %q mixes alphabets that look alike", name)
	}
	return nil
}

// foldName maps names that differ only in case to one text.
func foldName(name string) string {
	return strings.Map(func(c rune) rune {
		// The smallest rune of the orbit that case folding puts c in.
		least := c
		for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// checkName checks the name of a role, policy or setting: 1 to 63 of a-z, 0-9,
// "." and "-", beginning with a letter or digit.
func checkName(what, name string) error {
	if len(name) == 0 || len(name) > 63 || name[0] == '-' || name[0] == '.' {
		return mistake("%s name %q: 1 to 63 of a-z, 0-9, . and -, and the first a letter or digit", what, name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return mistake("%s name %q: only a-z, 0-9, . and - are possible", what, name)
		}
	}
	return nil
}

// CheckKeyName returns nil for what people may call a key: up to 64 bytes that can
// be seen, or nothing.
func CheckKeyName(name string) error {
	if len(name) > 64 {
		return mistake("a key name has at most 64 bytes, not %d", len(name))
	}
	if name == "" {
		return nil
	}
	return checkText(name)
}
