// Package e2e holds the tests that run whole devices and clients against each
// other on loopback sockets. The package has no code of its own.
//
// The files with the build tag lab put programs that are not ours at one end,
// or in the middle: CoAP clients, ssh, an MQTT broker. They need those programs
// and fail without them.
package e2e
