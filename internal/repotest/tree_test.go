package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/latchkey-dev/latchkey"
)

// A source is one Go file of the repository, wherever its module.
type source struct {
	path string // from the root, with slashes
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

func (s *source) dir() string { return path.Dir(s.path) }
func (s *source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }
func (s *source) in(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		return s.dir() == d || strings.HasPrefix(s.path, d+"/")
	})
}

// at says where a node is, as an editor can jump to it.
func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// imports returns what the file imports.
func (s *source) imports() []string {
	var found []string
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		found = append(found, p)
	}
	return found
}

// imported returns what the file imports by the names it uses.
func (s *source) imported() map[string]string {
	found := map[string]string{}
	for i, p := range s.imports() {
		spec := s.ast.Imports[i]
		name := packageName(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		found[name] = p
	}
	return found
}

// packageName guesses the name of an imported package as its last element that
// is not a major version.
func packageName(p string) string {
	base := path.Base(p)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(p))
	}
	return strings.TrimPrefix(base, "go-")
}

// walk calls fn with each file below the root that belongs to the repository.
func walk(t *testing.T, fn func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && slices.Contains([]string{".git", "bin", "dist"}, rel) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			fn(rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var (
	parseOnce sync.Once
	parsed    []*source
)

// sources returns every Go file, parsed once for all tests.
func sources(t *testing.T) []*source {
	t.Helper()
	parseOnce.Do(func() {
		walk(t, func(name string) {
			if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
				return
			}
			s := &source{path: name, text: read(t, name), fset: token.NewFileSet()}
			var err error
			s.ast, err = parser.ParseFile(s.fset, name, s.text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, s)
		})
	})
	if len(parsed) < 10 {
		t.Fatalf("only %d Go files found: is this the root of the repository?", len(parsed))
	}
	return parsed
}
