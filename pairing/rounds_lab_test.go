//go:build lab

package pairing_test

const raceRounds = 1000
