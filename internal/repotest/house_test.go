package repotest

import (
	"bytes"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call returns the receiver and name of a call like x.Name(…) or a.b.Name(…).
func call(n ast.Node) (recv ast.Expr, name string, args []ast.Expr) {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return nil, "", nil
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil, "", nil
	}
	return sel.X, sel.Sel.Name, c.Args
}

// called returns the last name of what a call calls: f(…), x.f(…).
func called(n ast.Node) string {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	if id, ok := c.Fun.(*ast.Ident); ok {
		return id.Name
	}
	_, name, _ := call(n)
	return name
}

// Only the door makes a pass and calls the authorization hook (design of
// device/gate.go): any second caller would be a second, unguarded door.
func TestOneDoor(t *testing.T) {
	made := 0
	for _, s := range sources(t) {
		if s.test() || s.in("examples", "tools") {
			continue
		}
		imports, door := s.imported(), s.path == "device/gate.go"
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				pkg, ok := sel.X.(*ast.Ident)
				if ok && sel.Sel.Name == "New" && imports[pkg.Name] == module+"/internal/gate" {
					if made++; !door {
						t.Errorf("%s: only device/gate.go makes a gate.Pass", s.at(n))
					}
				}
			}
			if name := called(n); (name == "Authorize" && !s.in("acl") || name == "hook" && s.in("device")) && !door {
				t.Errorf("%s: only device/gate.go calls the authorization hook", s.at(n))
			}
			return true
		})
	}
	if made != 1 {
		t.Errorf("gate.New is called in %d places, want 1", made)
	}
}

// A missing program fails a test. A test that skips is a test that nobody
// knows did not run. (rapid's Skip only draws other values.)
func TestNoTestSkips(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncLit); ok && drawsValues(f.Type) {
				return false
			}
			if f, ok := n.(*ast.FuncDecl); ok && drawsValues(f.Type) {
				return false
			}
			if _, name, _ := call(n); slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, name) {
				t.Errorf("%s: %s", s.at(n), name)
			}
			return true
		})
	}
	skip := regexp.MustCompile(`(?m)^\s*(\[[^\]]*\]\s*)?skip\b`)
	walk(t, func(name string) {
		if strings.Contains(name, "testdata/") && path.Ext(name) == ".txt" && skip.Match(read(t, name)) {
			t.Errorf("%s skips", name)
		}
	})
}

// drawsValues reports whether a function takes a *rapid.T.
func drawsValues(f *ast.FuncType) bool {
	return slices.ContainsFunc(f.Params.List, func(p *ast.Field) bool {
		star, ok := p.Type.(*ast.StarExpr)
		if !ok {
			return false
		}
		sel, ok := star.X.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, ok := sel.X.(*ast.Ident)
		return ok && pkg.Name == "rapid"
	})
}

// programs returns the programs that a file runs by name, with their places.
func programs(s *source) map[string]string {
	found, imports := map[string]string{}, s.imported()
	ast.Inspect(s.ast, func(n ast.Node) bool {
		recv, name, args := call(n)
		pkg, ok := recv.(*ast.Ident)
		if !ok || imports[pkg.Name] != "os/exec" {
			return true
		}
		at, ok := map[string]int{"Command": 0, "LookPath": 0, "CommandContext": 1}[name]
		if !ok || len(args) <= at {
			return true
		}
		if lit, ok := args[at].(*ast.BasicLit); ok && lit.Value != `"go"` {
			program, _ := strconv.Unquote(lit.Value)
			found[program] = s.at(n)
		}
		return true
	})
	return found
}

// Foreign programs belong to the lab, so that `make test` needs only Go, and
// .ci/run knows where to get them.
func TestForeignProgramsAreLabTests(t *testing.T) {
	lab := regexp.MustCompile(`(?m)^//go:build .*\blab\b`)
	everywhere := []string{"sh", "cp", "chmod", "sleep", "sha256sum"}
	ci := string(read(t, ".ci/run"))
	labs := 0
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		isLab := lab.Match(s.text)
		if isLab {
			labs++
		}
		for program, at := range programs(s) {
			if !isLab {
				t.Errorf("%s: runs %s without the build tag lab", at, program)
			} else if !slices.Contains(everywhere, program) && !regexp.MustCompile(`\s`+regexp.QuoteMeta(program)+`=\S`).MatchString(ci) {
				t.Errorf("%s: runs %s, which .ci/run does not install", at, program)
			}
		}
	}
	if labs == 0 {
		t.Error("no lab test was found")
	}
}

func TestNothingIsLeftForLater(t *testing.T) {
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)
	machine := regexp.MustCompile(`(^|[\s"'=(:])/(Users|root|work|workspace|builds)/[\w.]`)
	walk(t, func(name string) {
		if path.Ext(name) == ".sum" || strings.Contains(name, "testdata/fuzz/") || name == "LICENSE" {
			return
		}
		text := read(t, name)
		if bytes.IndexByte(text, 0) >= 0 {
			return // not text
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := later.FindString(line); m != "" {
				t.Errorf("%s:%d: %s", name, i+1, m)
			}
			if m := machine.FindString(line); m != "" && !strings.Contains(name, "testdata/") {
				t.Errorf("%s:%d: a path of one machine: %.100s", name, i+1, strings.TrimSpace(line))
			}
		}
	})
}

// A fuzz target without seeds starts from nothing and finds nothing.
func TestFuzzTargetsHaveSeeds(t *testing.T) {
	targets := 0
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			targets++
			corpus, err := os.ReadDir(filepath.Join(root, s.dir(), "testdata", "fuzz", f.Name.Name))
			if (err != nil || len(corpus) == 0) && !seeds(f) {
				t.Errorf("%s: %s has neither seeds nor a corpus", s.at(f), f.Name.Name)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target was found")
	}
}

// seeds reports whether a fuzz target adds inputs, itself or by a helper that
// it hands its *testing.F.
func seeds(f *ast.FuncDecl) (found bool) {
	if len(f.Type.Params.List) != 1 || len(f.Type.Params.List[0].Names) != 1 {
		return false
	}
	name := f.Type.Params.List[0].Names[0].Name
	is := func(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == name }
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if recv, method, _ := call(n); method == "Add" && is(recv) {
			found = true
		}
		if c, ok := n.(*ast.CallExpr); ok && slices.ContainsFunc(c.Args, is) {
			found = true
		}
		return true
	})
	return found
}

// nolintBudget is how often the linters may be overruled, with a reason each.
const nolintBudget = 10

func TestLintersAreHeeded(t *testing.T) {
	directive, used := regexp.MustCompile(`//(nolint|lint:ignore)\b`), 0
	for _, s := range sources(t) {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if directive.MatchString(c.Text) {
					used++
				}
			}
		}
	}
	if used > nolintBudget {
		t.Errorf("the linters are overruled %s times, at most %d", strconv.Itoa(used), nolintBudget)
	}
}
