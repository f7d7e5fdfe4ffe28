package registry

import (
	"os"
	"testing"
)

// childMode makes the test binary play another process, which changes the
// registry at the path that it gets as its last argument.
const childMode = "LATCHKEY_REGISTRY_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		if err := changeForever(os.Args[len(os.Args)-1]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
