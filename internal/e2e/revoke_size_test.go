//go:build !lab

package e2e

// The everyday test shows that everything ends. How soon it does is judged on a
// machine that has nothing else to do.
const (
	revocations   = 4
	judgesRevoked = false
)
