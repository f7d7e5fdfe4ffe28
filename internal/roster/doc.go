// Package roster is what administrators and users do with accounts: add, rename,
// narrow and remove users, their keys, roles, policies and invitations. The
// device's CoAP resources and the daemon's control socket both end here, so that
// an operation means the same from afar and at the device itself.
//
// The roster does not decide who may do what; the door does. The roster sees to it
// that the door's yes is one by the rules in force when the change is made: if
// anything has changed since, the door is asked again before anything is done. And
// it keeps the rules that hold for everybody who got through: what somebody read
// and another has changed since is not overwritten, the last administrator does not
// go by accident, and a user who manages itself gets no more than it had.
//
// Each change is one transaction of the store. Each attempt, whatever its
// outcome, is one acl.Event. What leaves everything as it was is neither.
package roster
