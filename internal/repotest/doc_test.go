package repotest

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// leastDoc is how many words a package doc needs to teach anything.
const leastDoc = 20

func TestEachPackageExplainsItselfOnce(t *testing.T) {
	docs, packages := map[string][]*source{}, map[string]string{}
	for _, s := range sources(t) {
		if s.test() || s.in("tools") {
			continue
		}
		packages[s.dir()] = s.ast.Name.Name
		if s.ast.Doc != nil {
			docs[s.dir()] = append(docs[s.dir()], s)
		}
	}
	for dir, name := range packages {
		if len(docs[dir]) != 1 {
			t.Errorf("%s has %d package docs, want exactly one", dir, len(docs[dir]))
			continue
		}
		s := docs[dir][0]
		text := s.ast.Doc.Text()
		if name == "main" { // read first is where it begins, whatever the file
			if !regexp.MustCompile(`(?i)^(command )?` + regexp.QuoteMeta(path.Base(dir)) + ` `).MatchString(text) {
				t.Errorf("%s: the doc of a program begins with its name", s.path)
			}
		} else if !strings.HasPrefix(text, "Package "+name+" ") {
			t.Errorf("%s: the package doc does not begin with %q", s.path, "Package "+name)
		} else if path.Base(s.path) != "doc.go" {
			t.Errorf("%s: the package doc belongs in doc.go", s.path)
		}
		if n := len(strings.Fields(text)); n < leastDoc {
			t.Errorf("%s: %d words explain nothing yet, want %d", s.path, n, leastDoc)
		}
	}
}
