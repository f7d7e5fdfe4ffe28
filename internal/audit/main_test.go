package audit

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childMode makes the test binary play another process: its value says which.
const childMode = "LATCHKEY_AUDIT_CHILD"

// children are the processes that tests start by running themselves again. They
// get a directory as their last argument.
var children = map[string]func(dir string) error{"record": recordForever}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childMode)]; child != nil {
		if err := child(os.Args[len(os.Args)-1]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
