package world

import (
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

// WriteHTML writes the report as a page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

// A square is what the page shows of one pair of kinds.
type square struct {
	Want    Class
	Right   int
	Runs    int
	Classes string // what the runs came to
	Lines   []string
	Errors  []string
}

// Class is the style of the square.
func (s square) Class() string {
	switch {
	case s.Runs == 0:
		return "none"
	case s.Right < s.Runs:
		return "wrong"
	default:
		return string(s.Want)
	}
}

// Square sums up the runs of a pair. It is for the page.
func (r *Report) Square(client, device Kind) square {
	s := square{Want: Want(client, device)}
	took := timesOf{}
	var seen []string
	for _, res := range r.Results {
		if res.Client != client || res.Device != device {
			continue
		}
		s.Runs++
		class := string(res.Got)
		if res.Error != "" {
			class = "failed"
			s.Errors = append(s.Errors, res.Error)
		}
		if res.OK() {
			s.Right++
		}
		if !slices.Contains(seen, class) {
			seen = append(seen, class)
		}
		took.add(res.Times)
	}
	for i, class := range seen {
		if i > 0 {
			s.Classes += ", "
		}
		s.Classes += class
	}
	for _, name := range took.names {
		s.Lines = append(s.Lines, fmt.Sprintf("%s %s", name, millis(percentile(took.sorted(name), 50))))
	}
	return s
}

// A row is a line of the table of times.
type row struct {
	Class                 Class
	Phase                 string
	Count                 int
	P50, P95, Least, Most string
}

// Rows sums up the times by class. It is for the page.
func (r *Report) Rows() []row {
	var rows []row
	for _, class := range []Class{Direct, Relay} {
		took := timesOf{}
		for _, res := range r.Results {
			if res.Error == "" && res.Got == class {
				took.add(res.Times)
			}
		}
		for _, name := range took.names {
			s := took.sorted(name)
			rows = append(rows, row{class, name, len(s), millis(percentile(s, 50)), millis(percentile(s, 95)), millis(s[0]), millis(s[len(s)-1])})
		}
	}
	return rows
}

// timesOf collects times by phase, in the order in which phases appear.
type timesOf struct {
	names []string
	took  map[string][]time.Duration
}

func (t *timesOf) add(times Times) {
	if t.took == nil {
		t.took = map[string][]time.Duration{}
	}
	for _, p := range times {
		if t.took[p.Name] == nil {
			t.names = append(t.names, p.Name)
		}
		t.took[p.Name] = append(t.took[p.Name], p.Took)
	}
}

func (t *timesOf) sorted(name string) []time.Duration {
	return slices.Sorted(slices.Values(t.took[name]))
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b1f24; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin-top: 2rem }
p.about { color: #57606a; margin-top: 0 } .scroll { overflow-x: auto }
table { border-collapse: collapse } th, td { border: 1px solid #d0d7de; padding: .45rem .6rem; text-align: left; vertical-align: top }
th { background: #f6f8fa; font-weight: 600 } td.n { text-align: right; font-variant-numeric: tabular-nums }
td small { display: block; color: #424a53; white-space: nowrap }
td.direct { background: #dafbe1 } td.relay { background: #ddf4ff } td.wrong { background: #ffcecb; outline: 2px solid #a40e26; outline-offset: -2px }
@media (prefers-color-scheme: dark) {
body { color: #e6edf3; background: #0d1117 } p.about, td small { color: #a9b4c0 } th { background: #161b22 } th, td { border-color: #3d444d }
td.direct { background: #12361f } td.relay { background: #0c2d4a } td.wrong { background: #67060c; outline-color: #ff938a } }
</style>
<h1>{{.Title}}</h1>
<p class="about">{{.About.Date.Format "2006-01-02 15:04 MST"}} · commit {{.About.Commit}} · Linux {{.About.Kernel}} · {{.About.System}}</p>
{{$wrong := .Wrong}}<p>{{len .Results}} runs, {{if $wrong}}<strong>{{len $wrong}} not as the table says</strong>{{else}}all as the table says{{end}}.
The table was written before the runs: direct, unless UDP is blocked on a side, or one side is symmetric and the other symmetric or port-restricted in effect.</p>
<div class="scroll"><table>
<tr><th>client behind ↓ device behind →</th>{{range .Kinds}}<th>{{.}}</th>{{end}}</tr>
{{$r := .}}{{range $client := .Kinds}}<tr><th>{{$client}}</th>
{{- range $device := $r.Kinds}}{{with $r.Square $client $device}}
<td class="{{.Class}}">{{if .Runs}}<strong>{{.Classes}}</strong> {{.Right}}/{{.Runs}}{{if lt .Right .Runs}}<small>want {{.Want}}</small>{{end}}{{range .Lines}}<small>{{.}}</small>{{end}}{{range .Errors}}<small>{{.}}</small>{{end}}{{else}}not run{{end}}</td>
{{- end}}{{end}}</tr>
{{end}}</table></div>
<p>Right runs of all; times are medians of the cell.</p>
<h2>Times</h2>
<div class="scroll"><table>
<tr><th>path</th><th>phase</th><th>runs</th><th>least</th><th>median</th><th>95th percentile</th><th>most</th></tr>
{{range .Rows}}<tr><td>{{.Class}}</td><td>{{.Phase}}</td><td class="n">{{.Count}}</td><td class="n">{{.Least}}</td><td class="n">{{.P50}}</td><td class="n">{{.P95}}</td><td class="n">{{.Most}}</td></tr>
{{end}}</table></div>
</html>
`))
