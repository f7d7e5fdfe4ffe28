// Package gate holds the proof that an operation was allowed.
//
// The device asks its authorization hook in one place, the door in
// device/gate.go. When the hook says yes, the door makes a Pass, which carries
// the very request that was judged. Handlers, forwarders and dialers demand a
// Pass and take the path, the upstream URL or the service from it, so there is
// no second parse and no second name between the decision and the deed.
//
// The type cannot stop code of this module from calling New elsewhere; a test
// in internal/repotest does.
package gate
