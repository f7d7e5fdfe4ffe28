//go:build lab

package acl

const (
	flips       = 1000
	kills       = 500
	createKills = 200
)
