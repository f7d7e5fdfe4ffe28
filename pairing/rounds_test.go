//go:build !lab

package pairing_test

// raceRounds keeps the everyday test short; each round has disk to wait for.
const raceRounds = 100
