package forward

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey"
)

// What stands unescaped beside letters and digits (RFC 7252 section 6.5). A
// query escapes "+" and ";" too, because HTTP servers give them a meaning.
const (
	pathLiteral  = "-._~!$&'()*+,;=:@"
	queryLiteral = "-._~!$'()*,=:@/?"
)

func escape(b *strings.Builder, s, literal string) {
	const hex = "0123456789ABCDEF"
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(literal, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

// checkText refuses what is not text on one line.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: not UTF-8", latchkey.ErrProtocol)
	}
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("%w: control character", latchkey.ErrProtocol)
		}
	}
	return nil
}

// checkSegment refuses a path segment that some server could take for more
// than one segment or for a way up: as it stands, and as it reads when a
// server unescapes it once more than it should.
func checkSegment(s string) error {
	for {
		if err := checkText(s); err != nil {
			return err
		}
		name, _, _ := strings.Cut(s, ";") // parameters do not hide a dot segment
		if name == "." || name == ".." || strings.ContainsAny(s, `/\`) {
			return fmt.Errorf("%w: path segment with a slash or only dots", latchkey.ErrProtocol)
		}
		again := unescape(s)
		if again == s {
			return nil
		}
		s = again
	}
}

// unescape replaces each %XX that is well-formed and leaves the rest. Its
// result is shorter, or s itself.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// splitPath returns the unescaped segments of an escaped path: none for "" and
// "/" (RFC 7252 section 6.4).
func splitPath(escaped string) []string {
	if escaped == "" || escaped == "/" {
		return nil
	}
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	for i, s := range segments {
		segments[i] = unescape(s)
	}
	return segments
}

// splitQuery returns the unescaped arguments of a URL's query.
func splitQuery(u *url.URL) []string {
	if u.RawQuery == "" && !u.ForceQuery {
		return nil
	}
	args := strings.Split(u.RawQuery, "&")
	for i, a := range args {
		args[i] = unescape(a)
	}
	return args
}
