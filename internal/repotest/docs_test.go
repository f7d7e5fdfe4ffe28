package repotest

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

func TestDocumentsExist(t *testing.T) {
	for _, name := range []string{
		"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
		"docs/access.md", "docs/protocol.md", "docs/threat-model.md", "docs/adr/README.md", "docs/systemd/latchkeyd.service",
		"docs/systemd/latchkey-basestation.service",
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if info.Size() < 200 {
			t.Errorf("%s has only %d bytes", name, info.Size())
		}
	}
}

// A figure that nobody has measured yet is not a figure.
func TestDocumentsHaveNoBlanks(t *testing.T) {
	blank := regexp.MustCompile(`\b(BENCH|TBD|FIGURE)\b`)
	walk(t, func(name string) {
		if path.Ext(name) == ".md" {
			for _, m := range blank.FindAll(read(t, name), -1) {
				t.Errorf("%s: %s", name, m)
			}
		}
	})
}

// names lists what each package of the module declares, by package name:
// Name, Type.Method and Type.Field.
func names(t *testing.T) map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]bool{}
	for _, s := range sources(t) {
		if s.test() || s.ast.Name.Name == "main" {
			continue
		}
		in := found[s.ast.Name.Name]
		if in == nil {
			in = map[string]bool{}
			found[s.ast.Name.Name] = in
		}
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				in[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declare(in, spec)
				}
			}
		}
	}
	return found
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if generic, ok := e.(*ast.IndexExpr); ok {
		e = generic.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name + "."
	}
	return ""
}

func declare(in map[string]bool, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			in[n.Name] = true
		}
	case *ast.TypeSpec:
		in[spec.Name.Name] = true
		var fields *ast.FieldList
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			fields = typ.Fields
		case *ast.InterfaceType:
			fields = typ.Methods
		default:
			return
		}
		for _, f := range fields.List {
			for _, n := range f.Names {
				in[spec.Name.Name+"."+n.Name] = true
			}
		}
	}
}

// The maps name functions and files; a map that names what is not there
// misleads.
func TestNamesInDocumentsExist(t *testing.T) {
	known := names(t)
	symbol := regexp.MustCompile("`([a-z][a-z0-9]*)\\.([A-Za-z]\\w*(?:\\.\\w+)?)(?:\\(\\))?`")
	file := regexp.MustCompile("`((?:[a-z][\\w.-]*/)*[\\w.-]+\\.(?:go|md|service|sh)|(?:internal|cmd|examples|docs|scripts)/[\\w/-]+)`")
	for _, doc := range []string{"ARCHITECTURE.md", "docs/protocol.md", "docs/threat-model.md", "README.md"} {
		text := string(read(t, doc))
		checked := 0
		for _, m := range symbol.FindAllStringSubmatch(text, -1) {
			if slices.Contains([]string{"go", "md", "db", "pem", "json", "jsonl", "yaml", "sock"}, m[2]) {
				continue // a file
			}
			checked++
			if known[m[1]] == nil {
				t.Errorf("%s: %s: there is no package %s", doc, m[0], m[1])
			} else if !known[m[1]][m[2]] {
				t.Errorf("%s: %s: package %s declares no %s", doc, m[0], m[1], m[2])
			}
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", doc, m[1], err)
			}
		}
		if doc == "ARCHITECTURE.md" && checked < 20 {
			t.Errorf("%s names only %d functions", doc, checked)
		}
	}
}

func TestLinksResolve(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(string(read(t, name)), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	})
}

// The registry of docs/protocol.md section 8 and the table in errors.go are
// the same table.
func TestRegistryOfCodes(t *testing.T) {
	text := string(read(t, "docs/protocol.md"))
	_, section, ok := strings.Cut(text, "\n## 8 ")
	if !ok {
		t.Fatal("docs/protocol.md has no section 8")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	names := map[int]string{} // of the Code constants
	constant := regexp.MustCompile(`(?m)^\tCode(\w+)\s+Code = (\d+)$`)
	for _, m := range constant.FindAllSubmatch(read(t, "errors.go"), -1) {
		n, _ := strconv.Atoi(string(m[2]))
		names[n] = string(m[1])
	}
	written := map[int]bool{}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| (\d)\.(\d\d) \|`)
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		n, _ := strconv.Atoi(m[1])
		if written[n] {
			t.Errorf("code %d stands there twice", n)
		}
		written[n] = true
		coap := latchkey.Code(n).CoAP()
		if want := fmt.Sprintf("%s %d.%02d", names[n], coap>>5, coap&31); want != m[2]+" "+m[3]+"."+m[4] {
			t.Errorf("code %d: %s %s.%s in the document, %s in errors.go", n, m[2], m[3], m[4], want)
		}
	}
	for n, name := range names {
		if !written[n] {
			t.Errorf("code %d, %s, is not in the document", n, name)
		}
	}
	if len(written) != len(names) || len(names) == 0 {
		t.Errorf("%d codes in the document, %d in errors.go", len(written), len(names))
	}
}

// Decisions are numbered without gaps and listed.
func TestDecisionsAreListed(t *testing.T) {
	index := string(read(t, "docs/adr/README.md"))
	files, err := filepath.Glob(filepath.Join(root, "docs/adr/[0-9]*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	slices.Sort(files)
	for i, f := range files {
		name := filepath.Base(f)
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("%s: the next number is %s", name, want)
		}
		if !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
}
