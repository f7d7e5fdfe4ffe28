package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey/internal/cli"
)

// whenText says what parseWhen reads.
const whenText = "a `TIME` such as 2027-01-31T12:00:00Z, or a duration from now such as 24h or 30d"

// parseWhen reads a moment: a time (RFC 3339), a duration from now, or never,
// which is the zero time, as is nothing.
func parseWhen(what, s string) (time.Time, error) {
	if s == "" || s == "never" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := parseLife(what, s)
	if err != nil {
		return time.Time{}, cli.Usage("%s: %q is neither a time, such as 2027-01-31T12:00:00Z, nor a duration above zero, such as 24h or 30d", what, s)
	}
	return time.Now().Add(d).UTC().Truncate(time.Second), nil
}

// parseLife reads a duration above zero, which may be in days.
func parseLife(what, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if text, ok := strings.CutSuffix(s, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(text, 10, 16)
		d = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, cli.Usage("%s: %q is no duration above zero, such as 24h or 30d", what, s)
	}
	return d, nil
}
