package latchkey

import (
	"errors"
	"fmt"
	"strings"
)

// A Code is the reason that crosses the wire, one byte. Text never does. The
// registry is in docs/protocol.md section 8; the table below is the only place
// that maps between Code, error and CoAP response code.
type Code uint8

// The codes. Their numbers are fixed by docs/protocol.md.
const (
	CodeInternal          Code = 1
	CodeProtocol          Code = 2
	CodeUnpaired          Code = 3
	CodeForbidden         Code = 4
	CodeNotFound          Code = 5
	CodeMethodNotAllowed  Code = 6
	CodeTooMany           Code = 7
	CodeTooLarge          Code = 8
	CodePairingClosed     Code = 9
	CodeNotLocal          Code = 10
	CodeWrongPassword     Code = 11
	CodeConflict          Code = 12
	CodeOffline           Code = 13
	CodeTargetRefused     Code = 14
	CodeTargetUnreachable Code = 15
	CodeTargetTimeout     Code = 16
	CodeReset             Code = 17
	CodeShutdown          Code = 18
	CodeRevoked           Code = 19
	CodeNotRegistered     Code = 20
	CodeWrongID           Code = 21
	CodeReplaced          Code = 22
	CodeDisconnected      Code = 23
	CodeAbuse             Code = 24
	CodeTokenExpired      Code = 25
)

// Sentinels. errors.Is finds them whether the refusal was ours or the peer's.
var (
	ErrInternal          error = &codeError{CodeInternal, "internal error"}
	ErrProtocol          error = &codeError{CodeProtocol, "protocol violation"}
	ErrUnpaired          error = &codeError{CodeUnpaired, "peer is not paired"}
	ErrForbidden         error = &codeError{CodeForbidden, "not allowed"}
	ErrNotFound          error = &codeError{CodeNotFound, "no such resource"}
	ErrMethodNotAllowed  error = &codeError{CodeMethodNotAllowed, "method not allowed"}
	ErrTooMany           error = &codeError{CodeTooMany, "limit reached"}
	ErrTooLarge          error = &codeError{CodeTooLarge, "too large"}
	ErrPairingClosed     error = &codeError{CodePairingClosed, "pairing mode is not open"}
	ErrNotLocal          error = &codeError{CodeNotLocal, "not on the device's own network"}
	ErrWrongPassword     error = &codeError{CodeWrongPassword, "wrong password"}
	ErrConflict          error = &codeError{CodeConflict, "conflict with the present state"}
	ErrOffline           error = &codeError{CodeOffline, "device is not attached"}
	ErrTargetRefused     error = &codeError{CodeTargetRefused, "target refused the connection"}
	ErrTargetUnreachable error = &codeError{CodeTargetUnreachable, "target is unreachable"}
	ErrTargetTimeout     error = &codeError{CodeTargetTimeout, "target did not answer in time"}
	ErrReset             error = &codeError{CodeReset, "connection reset"}
	ErrShutdown          error = &codeError{CodeShutdown, "peer is shutting down"}
	ErrRevoked           error = &codeError{CodeRevoked, "access was revoked"}
	ErrNotRegistered     error = &codeError{CodeNotRegistered, "basestation does not know this key"}
	ErrWrongID           error = &codeError{CodeWrongID, "the id belongs to another key"}
	ErrReplaced          error = &codeError{CodeReplaced, "another device attached with this id"}
	ErrDisconnected      error = &codeError{CodeDisconnected, "session ended because of a request that is not allowed"}
	ErrAbuse             error = &codeError{CodeAbuse, "session ended because of too many refused requests"}
	ErrTokenExpired      error = &codeError{CodeTokenExpired, "the token has expired"}
)

// Found locally and never sent.
var (
	// ErrUnknownDevice reports an alias or device that is not in the file of
	// known devices.
	ErrUnknownDevice = errors.New("latchkey: device is not known here")
	// ErrIdentityChanged reports a device that answered with another key than
	// the pinned one. *IdentityError matches it.
	ErrIdentityChanged = errors.New("latchkey: device answered with another key")
	// ErrHandshakeRefused reports a peer that ended the handshake because of
	// our key: it is not paired and no pairing mode is open.
	ErrHandshakeRefused = errors.New("latchkey: device refused this key in the handshake")
)

// registry has a row for each code. CoAP response codes are class.detail as
// RFC 7252 section 5.9 packs them: class<<5 | detail.
var registry = map[Code]struct {
	err  error
	coap uint8
}{
	CodeInternal:          {ErrInternal, coapCode(5, 0)},
	CodeProtocol:          {ErrProtocol, coapCode(4, 0)},
	CodeUnpaired:          {ErrUnpaired, coapCode(4, 1)},
	CodeForbidden:         {ErrForbidden, coapCode(4, 3)},
	CodeNotFound:          {ErrNotFound, coapCode(4, 4)},
	CodeMethodNotAllowed:  {ErrMethodNotAllowed, coapCode(4, 5)},
	CodeTooMany:           {ErrTooMany, coapCode(4, 29)},
	CodeTooLarge:          {ErrTooLarge, coapCode(4, 13)},
	CodePairingClosed:     {ErrPairingClosed, coapCode(4, 3)},
	CodeNotLocal:          {ErrNotLocal, coapCode(4, 3)},
	CodeWrongPassword:     {ErrWrongPassword, coapCode(4, 1)},
	CodeConflict:          {ErrConflict, coapCode(4, 9)},
	CodeOffline:           {ErrOffline, coapCode(5, 3)},
	CodeTargetRefused:     {ErrTargetRefused, coapCode(5, 2)},
	CodeTargetUnreachable: {ErrTargetUnreachable, coapCode(5, 2)},
	CodeTargetTimeout:     {ErrTargetTimeout, coapCode(5, 4)},
	CodeReset:             {ErrReset, coapCode(5, 0)},
	CodeShutdown:          {ErrShutdown, coapCode(5, 3)},
	CodeRevoked:           {ErrRevoked, coapCode(4, 3)},
	CodeNotRegistered:     {ErrNotRegistered, coapCode(4, 1)},
	CodeWrongID:           {ErrWrongID, coapCode(4, 3)},
	CodeReplaced:          {ErrReplaced, coapCode(4, 9)},
	CodeDisconnected:      {ErrDisconnected, coapCode(4, 3)},
	CodeAbuse:             {ErrAbuse, coapCode(4, 29)},
	CodeTokenExpired:      {ErrTokenExpired, coapCode(4, 1)},
}

func coapCode(class, detail uint8) uint8 { return class<<5 | detail }

type codeError struct {
	code Code
	text string
}

func (e *codeError) Error() string { return "latchkey: " + e.text }

// CodeOf returns the code that tells a peer why: that of the first sentinel in
// err's tree, CodeInternal for every other error, 0 for nil.
func CodeOf(err error) Code {
	var known *codeError
	var remote *RemoteError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &remote):
		return remote.Code
	}
	return CodeInternal
}

// Err returns the sentinel of c, nil for 0. A code that this version does not
// know yields a *RemoteError that matches no sentinel.
func (c Code) Err() error {
	if c == 0 {
		return nil
	}
	if row, ok := registry[c]; ok {
		return row.err
	}
	return &RemoteError{Code: c}
}

// CoAP returns the CoAP response code (RFC 7252 section 5.9) that carries c;
// 5.00 for a code that this version does not know.
func (c Code) CoAP() uint8 {
	if row, ok := registry[c]; ok {
		return row.coap
	}
	return coapCode(5, 0)
}

// ErrorOfCoAP returns the sentinel that an application's CoAP error code stands
// for, the one with the lowest Code where several share it; nil if none does.
func ErrorOfCoAP(coap uint8) error {
	var found Code
	for code, row := range registry {
		if row.coap == coap && (found == 0 || code < found) {
			found = code
		}
	}
	return found.Err()
}

// String names the reason in words.
func (c Code) String() string {
	if row, ok := registry[c]; ok {
		return strings.TrimPrefix(row.err.Error(), "latchkey: ")
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// A RemoteError says that the peer refused. It matches the sentinel of its Code.
type RemoteError struct {
	Op   string      // what was asked: "GET /light/1", "open tunnel ssh"
	Peer Fingerprint // who refused
	Code Code        // why
}

// Error implements error.
func (e *RemoteError) Error() string {
	if e.Op == "" {
		return "refused by the device: " + e.Code.String()
	}
	return e.Op + ": refused by the device: " + e.Code.String()
}

// Unwrap makes errors.Is find the sentinel.
func (e *RemoteError) Unwrap() error {
	if row, ok := registry[e.Code]; ok {
		return row.err
	}
	return nil
}

// An IdentityError reports a device whose key is not the pinned one. An empty
// Want means that the device was unknown; otherwise suspect an attack.
type IdentityError struct {
	Device string // alias or id, as asked for
	Got    Fingerprint
	Want   []Fingerprint
}

// Error names both keys.
func (e *IdentityError) Error() string {
	want := make([]string, len(e.Want))
	for i, f := range e.Want {
		want[i] = f.String()
	}
	if len(want) == 0 {
		return fmt.Sprintf("device %q has key %s, which is not known here", e.Device, e.Got)
	}
	return fmt.Sprintf("device %q answered with key %s, but its known key is %s", e.Device, e.Got, strings.Join(want, " or "))
}

// Unwrap makes errors.Is(err, ErrIdentityChanged) hold for a changed key, and
// ErrUnknownDevice for an unknown one.
func (e *IdentityError) Unwrap() error {
	if len(e.Want) == 0 {
		return ErrUnknownDevice
	}
	return ErrIdentityChanged
}
