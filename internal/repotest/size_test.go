package repotest

import (
	"bytes"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// Sizes in lines, of what is not a test.
const (
	maxFile    = 400
	medianFile = 130
	maxFunc    = 70
	p90Func    = 40
)

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	var files, funcs []int
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		n := bytes.Count(s.text, []byte("\n"))
		files = append(files, n)
		if n > maxFile {
			t.Errorf("%s has %d lines, at most %d", s.path, n, maxFile)
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				return true
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			funcs = append(funcs, lines)
			if lines > maxFunc {
				t.Errorf("%s: %s has %d lines, at most %d", s.at(f), f.Name.Name, lines, maxFunc)
			}
			return true
		})
	}
	slices.Sort(files)
	slices.Sort(funcs)
	if m := files[len(files)/2]; m > medianFile {
		t.Errorf("the median file has %d lines, at most %d", m, medianFile)
	}
	if p := funcs[len(funcs)*9/10]; p > p90Func {
		t.Errorf("a tenth of the functions has more than %d lines, at most %d", p, p90Func)
	}
	t.Logf("%d files, median %d lines; %d functions, median %d, 90th percentile %d",
		len(files), files[len(files)/2], len(funcs), funcs[len(funcs)/2], funcs[len(funcs)*9/10])
}

// The first programs that people meet are short. Blank lines and comments are
// not counted.
func TestFirstExamplesFit(t *testing.T) {
	for name, most := range map[string]int{"examples/device/main.go": 25, "examples/client/main.go": 20} {
		lines := 0
		for line := range strings.SplitSeq(string(read(t, name)), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
		if lines > most {
			t.Errorf("%s has %d lines, at most %d", name, lines, most)
		}
	}
}
