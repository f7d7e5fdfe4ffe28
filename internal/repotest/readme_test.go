package repotest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the README tells people to type is typed by a test: each command of its
// code blocks, with each of its flags, is in a script below testdata.
func TestReadmeCommandsAreTested(t *testing.T) {
	var scripts []string
	walk(t, func(name string) {
		if strings.Contains(name, "/testdata/") && (path.Ext(name) == ".txt" || path.Ext(name) == ".txtar") {
			for _, line := range strings.Split(string(read(t, name)), "\n") {
				scripts = append(scripts, commands(line)...)
			}
		}
	})
	tested := map[string]bool{}
	for _, c := range scripts {
		for _, part := range parts(c) {
			tested[part] = true
		}
	}
	typed := 0
	for i, block := range strings.Split(string(read(t, "README.md")), "```") {
		if i%2 == 0 {
			continue
		}
		for _, line := range strings.Split(block, "\n") {
			for _, c := range commands(line) {
				for _, part := range parts(c) {
					if typed++; !tested[part] {
						t.Errorf("README.md says %q; no script has %q", c, part)
					}
				}
			}
		}
	}
	if typed == 0 {
		t.Error("README.md has no commands")
	}
}

// commands finds what a line runs of our programs, also inside quotes and $().
func commands(line string) []string {
	var found []string
	starts := regexp.MustCompile(`(?:^|[\s'"(/])(latchkeyd?|latchkey-basestation) [a-z]`).FindAllStringSubmatchIndex(line, -1)
	for _, at := range starts {
		c := line[at[2]:]
		if end := strings.IndexAny(c, `()#|&;`); end >= 0 && !strings.Contains(c[:end], "$") {
			c = c[:end]
		}
		found = append(found, strings.TrimRight(c, `'" `))
	}
	return found
}

// groups are commands whose second word says what they do.
var groups = []string{"user", "coap", "pairing", "key", "policy", "audit", "token", "device", "event", "completion"}

// parts returns the command, and the command with each of its flags.
func parts(c string) []string {
	words := strings.Fields(c)
	if len(words) < 2 {
		return nil
	}
	n := 2
	if slices.Contains(groups, words[1]) && len(words) > 2 {
		n = 3
	}
	name := strings.Join(words[:n], " ")
	found := []string{name}
	for _, w := range words[n:] {
		if flag, _, _ := strings.Cut(w, "="); strings.HasPrefix(flag, "--") && len(flag) > 2 {
			found = append(found, name+" "+flag)
		}
	}
	return found
}
