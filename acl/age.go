package acl

import (
	"strconv"
	"strings"
	"time"
)

// maxAge bounds what a condition may ask of a key's age.
const maxAge = 100 * 365 * 24 * time.Hour

// ageUnits are what an age may be given in.
var ageUnits = []struct {
	name string
	unit time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// parseAge reads a whole number of one unit: "90m", "720h", "30d". A day has 24
// hours.
func parseAge(s string) (time.Duration, error) {
	for _, u := range ageUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err == nil && strconv.FormatUint(n, 10) == number && n <= uint64(maxAge/u.unit) {
			return time.Duration(n) * u.unit, nil
		}
	}
	return 0, mistake("%q is not an age such as 90m, 720h or 30d", s)
}

// formatAge writes what parseAge reads, to the second.
func formatAge(d time.Duration) string {
	for _, u := range ageUnits {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}
