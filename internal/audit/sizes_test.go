//go:build !lab

package audit

const (
	kills    = 10 // processes that the test of crashes kills
	byteStep = 61 // of so many bytes of a log, one is changed
	lineStep = 29 // of so many lines, one is damaged, and the begin of each file
)
