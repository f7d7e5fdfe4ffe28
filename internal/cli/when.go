package cli

import (
	"strconv"
	"strings"
	"time"
)

// WhenText says what ParseWhen reads.
const WhenText = "a `TIME` such as 2027-01-31T12:00:00Z, or a duration from now such as 24h or 30d"

// WhenArg says the same of an argument, on lines of their own.
const WhenArg = `WHEN is a time such as 2027-01-31T12:00:00Z, a duration from now such as 24h or
30d, or never.`

// ParseWhen reads a moment: a time (RFC 3339), a duration from now, or never,
// which is the zero time, as is nothing. what is for the error.
func ParseWhen(what, s string) (time.Time, error) {
	if s == "" || s == "never" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := ParseLife(what, s)
	if err != nil {
		return time.Time{}, Usage("%s: %q is neither a time, such as 2027-01-31T12:00:00Z, nor a duration above zero, such as 24h or 30d", what, s)
	}
	return time.Now().Add(d).UTC().Truncate(time.Second), nil
}

// ParseLife reads a duration above zero, which may be in days.
func ParseLife(what, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if text, ok := strings.CutSuffix(s, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(text, 10, 16)
		d = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, Usage("%s: %q is no duration above zero, such as 24h or 30d", what, s)
	}
	return d, nil
}

// Stamp writes a time, of which zero is never.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}
