// Package cli is what the command lines of all programs share, so that they
// behave alike.
//
// An App runs one cobra tree. It turns the outcome into an exit code (0 done,
// 1 refused or failed, 2 usage) and an error into two lines on stderr, the
// cause and the next step:
//
//	latchkey: no device is known here as "hom"; known: home
//	next: latchkey devices
//
// Commands print data with App.Print, which knows three forms: one JSON
// document with --json, a table for people on a terminal, and the same rows
// separated by tabs, without a heading, in a pipe. Nothing here prompts unless
// stdin is a terminal.
package cli
