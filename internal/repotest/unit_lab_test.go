//go:build lab

package repotest

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// maxExposure is what systemd-analyze may say of a unit file: 0 is a service
// that can do nothing, 10 one that runs as root without any wall.
const maxExposure = 1.5

func TestUnitFilesAreHardened(t *testing.T) {
	for _, unit := range []string{"latchkeyd.service", "latchkey-basestation.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true",
			root+"/docs/systemd/"+unit).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		m := regexp.MustCompile(`Overall exposure level for ` + regexp.QuoteMeta(unit) + `: ([\d.]+)`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no exposure level in the answer:\n%s", out)
		}
		level, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil || level > maxExposure {
			t.Errorf("%s: exposure %s, at most %v\n%s", unit, m[1], maxExposure, out)
		}
	}
}
