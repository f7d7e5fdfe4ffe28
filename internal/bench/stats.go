package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// median returns the middle of the values, 0 if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// spread names the least and the largest of several values.
func spread(values []float64) string {
	if len(values) < 2 {
		return ""
	}
	return fmt.Sprintf("%s to %s in %d runs", number(slices.Min(values)), number(slices.Max(values)), len(values))
}

// notes joins what there is to say.
func notes(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// percentile returns the smallest duration that p percent of all do not exceed.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min((len(sorted)*p+99)/100, len(sorted))-1]
}

// megabits turns bytes in a time into Mbit/s.
func megabits(bytes int64, in time.Duration) float64 {
	return float64(bytes) * 8 / 1e6 / in.Seconds()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
