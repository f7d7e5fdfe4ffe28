//go:build lab

package vault

const flips = 1000
