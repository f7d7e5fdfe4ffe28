package acl

import (
	"os"
	"testing"
)

// childMode makes the test binary play another process: its value says which.
const childMode = "LATCHKEY_ACL_CHILD"

// children are the processes that tests start by running themselves again. They
// get the path of the store as their last argument.
var children = map[string]func(path string) error{
	"commit": commitForever,
	"create": createOnce,
	"open":   openOnce,
}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childMode)]; child != nil {
		if err := child(os.Args[len(os.Args)-1]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
