package acl

import (
	"slices"
	"strings"
	"time"
)

// A window is a time of day that comes back, "mon-fri 22:00-06:00 Europe/Berlin".
// One that goes over midnight belongs to the day on which it begins.
type window struct {
	days     uint8 // one bit for each time.Weekday
	from, to int   // minutes after midnight
	name     string
	zone     *time.Location // nil: this machine does not know the zone
}

// contains reports whether t lies in the window. known is false when that cannot
// be said here.
func (w *window) contains(t time.Time) (in, known bool) {
	if w.zone == nil {
		return false, false
	}
	t = t.In(w.zone)
	today := t.Weekday()
	yesterday := (today + 6) % 7
	minute := t.Hour()*60 + t.Minute()
	if w.from < w.to {
		return w.on(today) && w.from <= minute && minute < w.to, true
	}
	return w.on(today) && w.from <= minute || w.on(yesterday) && minute < w.to, true
}

func (w *window) on(d time.Weekday) bool { return w.days&(1<<d) != 0 }

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // by time.Weekday

const everyDay = 1<<7 - 1

// compileWindow reads "[DAYS ]HH:MM-HH:MM ZONE".
func compileWindow(s string, z *zones) (window, error) {
	fields := strings.Split(s, " ")
	w := window{days: everyDay}
	var err error
	if len(fields) == 3 {
		if w.days, err = parseDays(fields[0]); err != nil {
			return w, err
		}
		fields = fields[1:]
	}
	if len(fields) != 2 {
		return w, mistake(`%q is not a time such as "18:00-23:00 UTC" or "mon-fri 22:00-06:00 Europe/Berlin"`, s)
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if w.from, err = parseMinute(from); err == nil && ok {
		w.to, err = parseMinute(to)
	}
	switch {
	case err != nil:
		return w, err
	case !ok:
		return w, mistake("time %q: a beginning and an end are needed, 18:00-23:00", fields[0])
	case w.from == w.to:
		return w, mistake("time %q is empty; a whole day is 00:00-24:00", fields[0])
	case w.from == minutesOfDay:
		return w, mistake("time %q: a day begins at 00:00", fields[0])
	case w.to == 0:
		return w, mistake("time %q: a day ends at 24:00", fields[0])
	}
	w.name = fields[1]
	w.zone, err = z.find(w.name)
	return w, err
}

const minutesOfDay = 24 * 60

// parseMinute reads HH:MM, up to 24:00.
func parseMinute(s string) (int, error) {
	if len(s) == 5 && s[2] == ':' && isDigits(s[:2]) && isDigits(s[3:]) {
		h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
		if m < 60 && h*60+m <= minutesOfDay {
			return h*60 + m, nil
		}
	}
	return 0, mistake("%q is not a time of day between 00:00 and 24:00", s)
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

// parseDays reads days and ranges of them: "mon-fri", "sat,sun", "fri-mon".
func parseDays(s string) (uint8, error) {
	var days uint8
	for one := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(one, "-")
		if !isRange {
			to = from
		}
		first, last := slices.Index(weekdays, from), slices.Index(weekdays, to)
		if first < 0 || last < 0 || isRange && first == last {
			return 0, mistake("%q are not days such as mon-fri or sat,sun", s)
		}
		for d := first; ; d = (d + 1) % 7 {
			if days&(1<<d) != 0 {
				return 0, mistake("days %q: %s stands there twice", s, weekdays[d])
			}
			days |= 1 << d
			if d == last {
				break
			}
		}
	}
	return days, nil
}

// zones finds time zones, each name once, for as long as one text is read.
type zones struct {
	lenient bool // a zone that this machine does not know is no error
	found   map[string]*time.Location
}

// maxOffset is the most that any zone differs from UTC.
const maxOffset = 14 * 60

// find returns the zone of a name: UTC, an offset such as +02:00, or a name of
// the IANA database. With lenient set it returns nil for names that only this
// machine does not know.
func (z *zones) find(name string) (*time.Location, error) {
	switch {
	case name == "UTC":
		return time.UTC, nil
	case name != "" && (name[0] == '+' || name[0] == '-'):
		minutes, err := parseMinute(name[1:])
		if err != nil || minutes > maxOffset {
			return nil, mistake("time zone %q: an offset lies between -14:00 and +14:00", name)
		}
		if name[0] == '-' {
			minutes = -minutes
		}
		return time.FixedZone(name, minutes*60), nil
	case !zoneName(name):
		return nil, mistake(`%q is not a time zone such as "UTC", "+02:00" or "Europe/Berlin"`, name)
	}
	zone, seen := z.found[name]
	if !seen {
		zone, _ = time.LoadLocation(name) // nil with its error, which only says that it is not there
		if z.found == nil {
			z.found = make(map[string]*time.Location)
		}
		z.found[name] = zone
	}
	if zone == nil && !z.lenient {
		return nil, mistake("this machine does not know the time zone %q", name)
	}
	return zone, nil
}

// zoneName reports whether s can be a name of the IANA database. Local is not:
// it means something else on each machine.
func zoneName(s string) bool {
	if s == "" || len(s) > 64 || s == "Local" || s[0] == '/' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_+-/", c)
	})
}
