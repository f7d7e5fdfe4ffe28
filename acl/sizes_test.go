//go:build !lab

package acl

// How long the tests of damage and crashes look for trouble.
const (
	flips       = 300 // single bits turned over
	kills       = 50  // of a process that commits
	createKills = 20  // of a process that makes a new file
)
