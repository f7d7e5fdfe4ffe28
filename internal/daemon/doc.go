// Package daemon is what latchkeyd does behind its flags: a device that is
// configured by a file and administered by commands, so that a gateway is
// useful without writing Go.
//
// A daemon owns one directory:
//
//	key.pem          the device's key, 0600, made by Init and never by Run
//	latchkeyd.yaml   the configuration; strict, errors name line and column
//	access.db        users, keys, roles and policies
//	control.sock     the administrator's way in while the daemon runs, 0600
//
// Run serves until its context ends, reloads the configuration when told to,
// and speaks systemd's notify protocol. A configuration that does not pass
// every check changes nothing.
//
// Administration is a table of operations (operations.go), JSON in and JSON
// out. OpenControl decides who carries them out: the running daemon, reached
// over HTTP on the control socket, or, when none runs, this process on the
// files themselves. Both end in the same functions, so a command means the same
// either way. The socket answers the daemon's own user and root, by the
// credentials that the kernel reports.
package daemon
