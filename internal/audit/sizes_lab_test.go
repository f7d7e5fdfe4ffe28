//go:build lab

package audit

const (
	kills    = 500
	byteStep = 1
	lineStep = 1
)
