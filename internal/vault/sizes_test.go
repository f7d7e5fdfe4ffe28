//go:build !lab

package vault

// How many single bits the test of damage turns over.
const flips = 300
