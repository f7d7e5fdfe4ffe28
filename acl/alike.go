package acl

import "strings"

// Alphabets that have letters which look like those of another one: what
// stands at one place of the three looks alike. A space is none.
const (
	alikeLatin    = "ABCEHIJKMNOPQSTVWXYZ"
	alikeCyrillic = "АВСЕНІЈКМ ОРԚЅТ ԜХУ "
	alikeGreek    = "ΑΒ ΕΗΙ ΚΜΝΟΡ  Τ  ΧΥΖ"
)

var (
	toLatin    = alphabet(alikeCyrillic, alikeLatin, alikeGreek, alikeLatin)
	toCyrillic = alphabet(alikeLatin, alikeCyrillic)
	toGreek    = alphabet(alikeLatin, alikeGreek)
)

// alphabet makes a replacer of letters, from pairs of the alphabets above.
func alphabet(pairs ...string) *strings.Replacer {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		to := []rune(pairs[i+1])
		for n, c := range []rune(pairs[i]) {
			if c != ' ' && to[n] != ' ' {
				list = append(list, foldName(string(c)), foldName(string(to[n])))
			}
		}
	}
	return strings.NewReplacer(list...)
}

// skeleton maps names that people take for one another to one text: those that
// differ only in case, or in the alphabet of letters that look alike.
func skeleton(name string) string { return toLatin.Replace(foldName(name)) }

// AlikeNames reports whether people take one name for the other, because they
// differ only in case or are spelled with letters of another alphabet that look
// the same.
func AlikeNames(a, b string) bool { return skeleton(a) == skeleton(b) }

// twin returns a user whose name is like another one.
func (st *state) twin(name string) (string, bool) { return st.twinBut(name, "") }

// twinBut is twin, and passes over one user.
func (st *state) twinBut(name, but string) (string, bool) {
	bones := skeleton(name)
	// A name has one of these alphabets only. So there are these ways to write it.
	for _, spelling := range []string{foldName(name), bones, toCyrillic.Replace(bones), toGreek.Replace(bones)} {
		if twin, ok := st.folded[spelling]; ok && twin != but {
			return twin, true
		}
	}
	return "", false
}
