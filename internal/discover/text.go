package discover

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/latchkey-dev/latchkey"
)

// MaxName is the longest name of a device in bytes.
const MaxName = 128

const (
	serviceName = "_latchkey._udp.local."
	metaName    = "_services._dns-sd._udp.local." // RFC 6763 section 9
	txtVersion  = "1"

	maxLabel = 63 // RFC 1035 section 2.3.4
)

func checkName(name string) error {
	if len(name) > MaxName || name != printable(name, MaxName) {
		return fmt.Errorf("discover: a name is up to %d bytes of text that can be printed", MaxName)
	}
	return nil
}

// printable returns s, cut to limit bytes, with a replacement character for
// everything that is not UTF-8 or would move the cursor, change colours or
// reorder the text around it.
func printable(s string, limit int) string {
	return cut(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s), limit)
}

// cut shortens s to at most limit bytes without splitting a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// instanceLabel makes the first label of an instance's name out of the name for
// people (RFC 6763 section 4.1.1), with suffix behind it unless that is empty.
// Dots would divide the label for most programs.
func instanceLabel(name, suffix string) string {
	name = strings.ReplaceAll(name, ".", "-")
	if suffix == "" {
		return cut(name, maxLabel)
	}
	suffix = " " + suffix
	return cut(name, maxLabel-len(suffix)) + suffix
}

func hostName(key latchkey.Fingerprint) string { return "latchkey-" + key.String()[:20] + ".local." }

// encodeTXT returns the strings of the TXT record.
func encodeTXT(i Info) []string {
	return []string{"v=" + txtVersion, "id=" + i.ID.String(), "name=" + i.Name, "k=" + i.Key.String()}
}

// decodeTXT reads the strings of a TXT record (RFC 6763 section 6.4: the first of
// a key counts, keys in any case). It reports false for a record that is not a
// device's.
func decodeTXT(text []string) (f Found, ok bool) {
	fields := map[string]string{"v": "", "id": "", "name": "", "k": ""}
	seen := make(map[string]bool, len(fields))
	for _, s := range text {
		key, value, _ := strings.Cut(s, "=")
		key = strings.ToLower(key)
		if _, known := fields[key]; known && !seen[key] {
			seen[key], fields[key] = true, value
		}
	}
	if fields["v"] != txtVersion {
		return Found{}, false
	}
	id, idErr := latchkey.ParseDeviceID(fields["id"])
	key, keyErr := latchkey.ParseFingerprint(fields["k"])
	if idErr != nil || keyErr != nil {
		return Found{}, false
	}
	f = Found{ID: id, Name: printable(fields["name"], MaxName), Key: key}
	if f.Name == "" {
		f.Name = id.Device
	}
	return f, true
}

// isInstance reports whether name, in lower case, is LABEL._latchkey._udp.local.
func isInstance(name string) bool {
	label, ok := strings.CutSuffix(name, "."+serviceName)
	return ok && label != "" && !strings.Contains(label, ".")
}

// sameName compares as DNS does, without regard to case.
func sameName(n dnsmessage.Name, s string) bool { return strings.EqualFold(n.String(), s) }
