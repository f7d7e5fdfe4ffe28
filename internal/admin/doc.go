// Package admin is what a daemon has around its work, whatever the work is: an
// administrator's way in, a supervisor to talk to, and a directory of its own.
//
// Administration is a Table of operations, JSON in and JSON out. Open decides who
// carries them out: the running daemon, reached over HTTP on the control socket
// in its directory, or, when none runs, this process on the files themselves.
// Both end in the same functions, so a command means the same either way. The
// socket answers the daemon's own user and root, by the credentials that the
// kernel reports.
//
// Duties are what a daemon does from the moment it serves until it stops: it
// answers on the control socket, reloads when told to, and speaks systemd's
// notify protocol (sd_notify(3)).
//
// Create makes a directory's files, all or none of them, and overwrites nothing.
package admin
