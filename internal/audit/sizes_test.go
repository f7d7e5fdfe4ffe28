//go:build !lab

package audit

const (
	kills    = 20 // processes that the test of crashes kills
	byteStep = 29 // of so many bytes of a log, one is changed
)
