package acl

import (
	mathbits "math/bits"
	"time"
)

// A week has a bit for each of its minutes, from sunday 00:00 on.
type week [7*minutesOfDay/64 + 1]uint64

const minutesOfWeek = 7 * minutesOfDay

// fill adds the minutes of a window, moved by some minutes.
func (w *week) fill(in *window, move int) {
	length := (in.to - in.from + minutesOfDay) % minutesOfDay
	if length == 0 {
		length = minutesOfDay // 00:00-24:00
	}
	for day := range time.Saturday + 1 {
		if !in.on(day) {
			continue
		}
		begin := int(day)*minutesOfDay + in.from + move + minutesOfWeek
		for m := begin; m < begin+length; m++ {
			w[m%minutesOfWeek/64] |= 1 << (m % minutesOfWeek % 64)
		}
	}
}

// neverWithin reports whether no minute of a week fits all conditions. Zones with
// summer time are compared only each with itself.
func (l *linter) neverWithin(conditions []*condition) bool {
	weeks := make(map[string]*week) // by zone; "" for all that have fixed offsets
	l.spend(setWork)
	for _, c := range conditions {
		zone, same := "", true
		var hits week
		for i := range c.windows {
			w := &c.windows[i]
			name, move, ok := w.clock()
			same = same && ok && (i == 0 || name == zone)
			zone = name
			if !same || !l.spend(minutesOfDay) {
				break
			}
			hits.fill(w, move)
		}
		if !same || l.work <= 0 {
			continue
		}
		if weeks[zone] == nil {
			weeks[zone] = newWeek()
		}
		for i := range hits {
			if c.negative {
				hits[i] = ^hits[i]
			}
			weeks[zone][i] &= hits[i]
		}
	}
	for _, w := range weeks {
		if w.minutes() == 0 {
			return true
		}
	}
	return false
}

// clock returns the name of the window's zone, or "" and the minutes by which a
// fixed one is behind UTC.
func (w *window) clock() (name string, behind int, ok bool) {
	switch {
	case w.zone == nil:
		return "", 0, false
	case w.name == "UTC":
		return "", 0, true
	case w.name[0] == '+' || w.name[0] == '-':
		_, offset := time.Unix(0, 0).In(w.zone).Zone()
		return "", -offset / 60, true
	}
	return w.name, 0, true
}

// newWeek returns a week with all its minutes.
func newWeek() *week {
	var w week
	for m := range minutesOfWeek {
		w[m/64] |= 1 << (m % 64)
	}
	return &w
}

func (w *week) minutes() (n int) {
	for _, word := range w {
		n += mathbits.OnesCount64(word)
	}
	return n
}

// noon is when examples happen, a monday.
var noon = time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)

// moments are times to try: noon, and where windows begin or end, in winter and
// in summer.
func moments(conditions []*condition) []time.Time {
	out := []time.Time{noon}
	for _, c := range conditions {
		for _, w := range c.windows {
			if w.zone == nil {
				continue
			}
			for day := range 7 {
				for _, minute := range []int{w.from, w.to} {
					for _, month := range []time.Month{time.January, time.July} {
						out = append(out, time.Date(2026, month, 12+day, 0, minute, 0, 0, w.zone).UTC())
					}
				}
			}
		}
	}
	return out
}
