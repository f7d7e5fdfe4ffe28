// Package station is what latchkey-basestation does behind its flags: a
// basestation that is configured by a file and administered by commands.
//
// It owns one directory:
//
//	key.pem            the basestation's key, 0600, made by Init and never by Run
//	basestation.yaml   the configuration; strict, errors name line and column
//	registry.db        devices, their keys, and connect tokens
//	control.sock       the administrator's way in while it runs, 0600
//
// Run serves until its context ends and the peers had their time to move. It
// reloads issuers, limits and log level when told to; a configuration that does
// not pass every check changes nothing.
//
// Administration is a table of operations (operations.go) of package admin, which
// brings them here from the control socket, or works on the files when no
// basestation runs.
package station
