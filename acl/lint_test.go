package acl

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey/internal/vault"
)

//go:embed testdata/lint
var lintFiles embed.FS

// A lintFile is a document and what Lint has to find in it, beside the default
// rules.
type lintFile struct {
	About    string          `json:"about"`
	Users    []User          `json:"users"`
	Services []string        `json:"services"`
	Issuers  []string        `json:"issuers"`
	Document json.RawMessage `json:"document"`
	Want     []struct {
		Severity string `json:"severity"`
		Code     string `json:"code"`
		Where    string `json:"where"` // "POLICY STATEMENT", or "role NAME"
	} `json:"want"`
}

func (f lintFile) around() Surroundings {
	rules := DefaultRules()
	rules.Users = f.Users
	return Surroundings{Rules: rules, Services: f.Services, Issuers: f.Issuers}
}

func readLint(t *testing.T, dir string) map[string]lintFile {
	t.Helper()
	entries, err := lintFiles.ReadDir("testdata/lint/" + dir)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]lintFile)
	for _, e := range entries {
		text, err := lintFiles.ReadFile(path.Join("testdata/lint", dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var f lintFile
		if err := vault.Decode(text, &f); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		out[e.Name()] = f
	}
	return out
}

// summary is a finding in one line, without its words.
func (f Finding) summary() string {
	where := strings.TrimSuffix(fmt.Sprintf("%s %d", f.Policy, f.Statement), " 0")
	if f.Policy == "" {
		where = "role " + f.Role
	}
	return fmt.Sprintf("%s %s %s", f.Severity, f.Code, where)
}

func TestLintGolden(t *testing.T) {
	codes := make(map[string]bool)
	for dir, least := range map[string]int{"bad": 25, "good": 15} {
		files := readLint(t, dir)
		if len(files) < least {
			t.Errorf("%d %s documents, want %d", len(files), dir, least)
		}
		for name, f := range files {
			d, err := ParseDocument(name, f.Document)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, found := range Lint(d, f.around()) {
				got = append(got, found.summary())
				codes[found.Code] = true
				checkFinding(t, d, f.around(), found)
			}
			for _, w := range f.Want {
				want = append(want, w.Severity+" "+w.Code+" "+w.Where)
				if dir == "good" && w.Severity != string(SeverityNote) {
					t.Errorf("%s: a good document has a finding that is no note", name)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || dir == "bad" && len(want) == 0 {
				t.Errorf("%s/%s: %s\n got %q\nwant %q", dir, name, f.About, got, want)
			}
		}
	}
	if len(codes) < 25 {
		t.Errorf("only %d kinds of findings occur", len(codes))
	}
}

// checkFinding demands an example that passes as a test of the document and that
// the model confirms.
func checkFinding(t *testing.T, d *Document, around Surroundings, f Finding) {
	t.Helper()
	if f.Text == "" || f.Fix == "" || f.Example == nil {
		t.Fatalf("not complete: %+v", f)
	}
	if d.source != nil && (f.Line == 0 || f.Column == 0 || f.File == "") {
		t.Errorf("no position: %+v", f)
	}
	c := f.Example.Test
	st := around.with(d).state()
	st.resolveLeniently()
	var policies []*Policy
	role, own := c.Role, c.Policies
	if c.User != "" {
		role, own = st.users[c.User].Role, st.users[c.User].Policies
		c.Request.Role = role
	}
	policies = append(policies, st.effective[role]...)
	for _, name := range own {
		policies = append(policies, st.policies[name])
	}
	want := modelJudge(&c.Request, policies)
	got := f.Example.Decision
	if got.Effect != want.effect || got.Effect != NoMatch && (got.Policy != policies[want.policy].name || got.Statement != want.statement+1) {
		t.Errorf("%s: %s\n%+v\nis decided by %q %d, the model says %+v", f.summary(), f.Text, c.Request, got.Policy, got.Statement, want)
	}
	if !c.Expect.met(want.effect) {
		t.Errorf("%s: the example expects %s", f.summary(), c.Expect)
	}
	checkAsTest(t, d, around, f)
}

// checkAsTest writes the example as a test and runs that.
func checkAsTest(t *testing.T, d *Document, around Surroundings, f Finding) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"tests": []Case{f.Example.Test}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseDocument("test", text)
	if err != nil {
		t.Fatalf("%s\n%s", err, text)
	}
	again.Policies, again.Roles = d.Policies, d.Roles
	for _, failure := range again.Check(around.Rules) {
		t.Errorf("%s: as a test it fails: %v\n%s", f.summary(), failure, text)
	}
}

func TestLintDefaults(t *testing.T) {
	rules := DefaultRules()
	d := &Document{Policies: rules.Policies, Roles: rules.Roles}
	for _, around := range []Surroundings{{}, {Rules: rules}, {Rules: rules, Services: []string{}, Issuers: []string{}}} {
		for _, f := range Lint(d, around) {
			t.Errorf("%s: %s", f.summary(), f.Text)
		}
	}
}
