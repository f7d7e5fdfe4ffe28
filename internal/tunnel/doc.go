// Package tunnel joins a stream of a session to a socket: on the device to a
// service's target, on the client to a local listener or to stdin and stdout.
package tunnel
