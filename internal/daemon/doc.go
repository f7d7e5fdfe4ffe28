// Package daemon is what latchkeyd does behind its flags: a device that is
// configured by a file and administered by commands, so that a gateway is
// useful without writing Go.
//
// A daemon owns one directory:
//
//	key.pem          the device's key, 0600, made by Init and never by Run
//	latchkeyd.yaml   the configuration; strict, errors name line and column
//	access.db        users, keys, roles, policies and invitations
//	audit.jsonl      what has happened, of package audit
//	control.sock     the administrator's way in while the daemon runs, 0600
//
// Run serves until its context ends, reloads the configuration when told to,
// and speaks systemd's notify protocol. A configuration that does not pass
// every check changes nothing.
//
// Administration is a table of operations (operations.go) of package admin, which
// brings them here from the control socket, or works on the files when no daemon
// runs. What they change, package roster changes for them, and each attempt is in
// the audit log (office.go). The configuration is read by package settings.
package daemon
