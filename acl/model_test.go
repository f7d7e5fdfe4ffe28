package acl

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The model decides as the package documentation says, in the plainest way: it
// turns patterns into regular expressions and looks at every statement. It
// shares no code with the evaluator.

// A modelVerdict is an effect, and which statement of which policy decided,
// counted from 0.
type modelVerdict struct {
	effect            Effect
	policy, statement int
	mode              Mode
}

func modelDecide(r *Request, policies []*Policy) Effect { return modelJudge(r, policies).effect }

func modelJudge(r *Request, policies []*Policy) modelVerdict {
	for _, s := range strings.Split(r.Resource, "/") {
		if s == "." || s == ".." {
			return modelVerdict{}
		}
	}
	if r.Action == "" || len(r.Resource) > 4096 || strings.Count(r.Resource, "/") >= 128 {
		return modelVerdict{}
	}
	for _, effect := range []Effect{Deny, Allow} {
		for i, p := range policies {
			for j, s := range p.Statements() {
				if s.Effect == effect && modelMatches(r, s, effect == Deny) {
					return modelVerdict{effect, i, j, s.Mode}
				}
			}
		}
	}
	return modelVerdict{}
}

// modelMatches takes what is not known as unsure says.
func modelMatches(r *Request, s Statement, unsure bool) bool {
	action, resource := false, false
	for _, pattern := range s.Actions {
		e := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
		action = action || regexp.MustCompile(e).MatchString(string(r.Action))
	}
	for _, pattern := range s.Resources {
		resource = resource || modelResource(r, pattern, unsure)
	}
	if !action || !resource {
		return false
	}
	for _, c := range s.Conditions {
		if !modelCondition(r, c, unsure) {
			return false
		}
	}
	return true
}

// modelValues are the attributes of a request that are a text, or texts.
func modelValues(r *Request) map[string][]string {
	all := map[string][]string{
		"connection.user": {r.User}, "connection.role": {r.Role}, "connection.path": {string(r.Path)},
		"key.fingerprint": {r.Peer.String()}, "key.origin": {r.KeyOrigin}, "service.type": {r.ServiceType},
	}
	if r.Device.Product != "" {
		all["device.id"] = []string{r.Device.Product + "/" + r.Device.Device}
		all["device.product"], all["device.unit"] = []string{r.Device.Product}, []string{r.Device.Device}
	}
	for name, claim := range r.Claims {
		values := []string{}
		switch claim := claim.(type) {
		case string:
			values = []string{claim}
		case []any:
			for _, v := range claim {
				text, _ := v.(string) // what is no text makes the list as good as absent
				values = append(values, text)
			}
		default:
			continue
		}
		all["claim."+name] = values
	}
	for name, values := range all {
		if slices.Contains(values, "") {
			delete(all, name)
		}
	}
	return all
}

// modelVariables are the values that can stand for ${name}.
func modelVariables(r *Request) map[string]string {
	one := make(map[string]string)
	for name, values := range modelValues(r) {
		claim, isClaim := strings.CutPrefix(name, "claim.")
		if _, isText := r.Claims[claim].(string); len(values) == 1 && (!isClaim || isText) {
			one[name] = values[0]
		}
	}
	return one
}

var modelVariable = regexp.MustCompile(`\$\{([^}]*)\}`)

func modelResource(r *Request, pattern string, unsure bool) bool {
	values := modelVariables(r)
	pattern = strings.ReplaceAll(pattern, "${device.id}", "${device.product}/${device.unit}")
	expression := "(?s)^"
	for _, segment := range strings.Split(pattern, "/") {
		switch segment {
		case "**":
			expression += "(?:/[^/]*)*"
			continue
		case "*":
			expression += "/[^/]+"
			continue
		}
		unknown := false
		for _, v := range modelVariable.FindAllStringSubmatch(segment, -1) {
			if values[v[1]] == "" || strings.Contains(values[v[1]], "/") {
				unknown = true
			}
		}
		switch {
		case unknown && unsure:
			expression += "/[^/]*"
		case unknown:
			return false
		default:
			expression += "/" + regexp.QuoteMeta(modelVariable.ReplaceAllStringFunc(segment, func(v string) string {
				return values[v[2:len(v)-1]]
			}))
		}
	}
	return regexp.MustCompile(expression + "$").MatchString("/" + r.Resource)
}

func modelCondition(r *Request, c Condition, unsure bool) bool {
	var hits, unknown int
	values := modelValues(r)
	variables := modelVariables(r)
	for _, v := range c.Values {
		hit, known := false, true
		switch c.Attribute {
		case "connection.source":
			known = r.Source.IsValid()
			hit = known && netip.MustParsePrefix(v).Contains(r.Source.Unmap().WithZone(""))
		case "time":
			hit, known = modelWindow(r.Time, v)
		case "key.age":
			known = !r.Time.IsZero() && !r.KeyAdded.IsZero() && !r.Time.Before(r.KeyAdded)
			hit = r.Time.Before(r.KeyAdded.Add(modelAge(v)))
		default:
			for _, name := range modelVariable.FindAllStringSubmatch(v, -1) {
				known = known && variables[name[1]] != ""
			}
			full := modelVariable.ReplaceAllStringFunc(v, func(v string) string { return variables[v[2:len(v)-1]] })
			have, ok := values[c.Attribute]
			hit = slices.Contains(have, full)
			known = known && ok
		}
		if !known {
			unknown++
		} else if hit {
			hits++
		}
	}
	if hits == 0 && unknown > 0 {
		return unsure
	}
	switch c.Operator {
	case Equals, In, Within, Below:
		return hits > 0
	}
	return hits == 0
}

// modelWindow lays the window over yesterday and over today.
func modelWindow(t time.Time, window string) (in, known bool) {
	fields := strings.Fields(window)
	if len(fields) == 2 {
		fields = append([]string{"sun-sat"}, fields...)
	}
	zone, err := time.LoadLocation(fields[2])
	if offset, bad := time.Parse("-07:00", fields[2]); bad == nil {
		zone, err = offset.Location(), nil
	}
	if err != nil || t.IsZero() {
		return false, false
	}
	var from, fromMinute, to, toMinute int
	fmt.Sscanf(fields[1], "%d:%d-%d:%d", &from, &fromMinute, &to, &toMinute)
	from, to = from*60+fromMinute, to*60+toMinute
	if to < from {
		to += 24 * 60
	}
	const week = "sun mon tue wed thu fri sat sun mon tue wed thu fri sat"
	days := ""
	for _, one := range strings.Split(fields[0], ",") {
		first, last, _ := strings.Cut(one, "-")
		rest := week[strings.Index(week, first):]
		days += rest[:strings.Index(rest, cmp.Or(last, first))+3] + " "
	}
	now := t.In(zone)
	minute := now.Hour()*60 + now.Minute()
	for ago := range 2 {
		day := strings.ToLower(time.Weekday((int(now.Weekday()) + 7 - ago) % 7).String()[:3])
		begun := minute + ago*24*60
		in = in || strings.Contains(days, day) && from <= begun && begun < to
	}
	return in, true
}

func modelAge(s string) time.Duration {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, _ := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour
	}
	d, _ := time.ParseDuration(s)
	return d
}
