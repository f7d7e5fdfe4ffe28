//go:build lab

package e2e

const (
	revocations   = 200
	judgesRevoked = true
)
