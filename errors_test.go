package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

// codes is the registry as the wire has it, written out once more by hand so
// that no number changes unseen. CoAP codes are class.detail.
var codes = []struct {
	code latchkey.Code
	n    uint8
	err  error
	coap string
}{
	{latchkey.CodeInternal, 1, latchkey.ErrInternal, "5.00"},
	{latchkey.CodeProtocol, 2, latchkey.ErrProtocol, "4.00"},
	{latchkey.CodeUnpaired, 3, latchkey.ErrUnpaired, "4.01"},
	{latchkey.CodeForbidden, 4, latchkey.ErrForbidden, "4.03"},
	{latchkey.CodeNotFound, 5, latchkey.ErrNotFound, "4.04"},
	{latchkey.CodeMethodNotAllowed, 6, latchkey.ErrMethodNotAllowed, "4.05"},
	{latchkey.CodeTooMany, 7, latchkey.ErrTooMany, "4.29"},
	{latchkey.CodeTooLarge, 8, latchkey.ErrTooLarge, "4.13"},
	{latchkey.CodePairingClosed, 9, latchkey.ErrPairingClosed, "4.03"},
	{latchkey.CodeNotLocal, 10, latchkey.ErrNotLocal, "4.03"},
	{latchkey.CodeWrongPassword, 11, latchkey.ErrWrongPassword, "4.01"},
	{latchkey.CodeConflict, 12, latchkey.ErrConflict, "4.09"},
	{latchkey.CodeOffline, 13, latchkey.ErrOffline, "5.03"},
	{latchkey.CodeTargetRefused, 14, latchkey.ErrTargetRefused, "5.02"},
	{latchkey.CodeTargetUnreachable, 15, latchkey.ErrTargetUnreachable, "5.02"},
	{latchkey.CodeTargetTimeout, 16, latchkey.ErrTargetTimeout, "5.04"},
	{latchkey.CodeReset, 17, latchkey.ErrReset, "5.00"},
	{latchkey.CodeShutdown, 18, latchkey.ErrShutdown, "5.03"},
	{latchkey.CodeRevoked, 19, latchkey.ErrRevoked, "4.03"},
	{latchkey.CodeNotRegistered, 20, latchkey.ErrNotRegistered, "4.01"},
	{latchkey.CodeWrongID, 21, latchkey.ErrWrongID, "4.03"},
	{latchkey.CodeReplaced, 22, latchkey.ErrReplaced, "4.09"},
	{latchkey.CodeDisconnected, 23, latchkey.ErrDisconnected, "4.03"},
	{latchkey.CodeAbuse, 24, latchkey.ErrAbuse, "4.29"},
	{latchkey.CodeTokenExpired, 25, latchkey.ErrTokenExpired, "4.01"},
}

func TestCodeRegistry(t *testing.T) {
	known := make(map[latchkey.Code]bool)
	for _, row := range codes {
		known[row.code] = true
		if uint8(row.code) != row.n {
			t.Errorf("%v is %d on the wire, want %d", row.code, row.code, row.n)
		}
		if row.code.Err() != row.err {
			t.Errorf("Code(%d).Err() = %v, want %v", row.n, row.code.Err(), row.err)
		}
		if got := fmt.Sprintf("%d.%02d", row.code.CoAP()>>5, row.code.CoAP()&31); got != row.coap {
			t.Errorf("Code(%d).CoAP() = %s, want %s", row.n, got, row.coap)
		}
		if strings.HasPrefix(row.code.String(), "code ") || !strings.HasSuffix(row.err.Error(), row.code.String()) {
			t.Errorf("Code(%d).String() = %q beside %q", row.n, row.code, row.err)
		}
	}
	for n := range 256 {
		c := latchkey.Code(n)
		if known[c] || n == 0 {
			continue
		}
		if c.String() != fmt.Sprintf("code %d", n) {
			t.Errorf("Code(%d) = %q has a row that this test does not know", n, c)
		}
	}
}

func TestSentinelsThroughWrapping(t *testing.T) {
	f, _ := latchkey.ParseFingerprint(vectorFingerprint)
	for _, row := range codes {
		remote := &latchkey.RemoteError{Op: "GET /light/1", Peer: f, Code: row.code}
		for name, err := range map[string]error{
			"bare":           row.err,
			"wrapped":        fmt.Errorf("get: %w", row.err),
			"joined":         errors.Join(io.EOF, row.err),
			"remote":         remote,
			"remote wrapped": fmt.Errorf("dial home: %w", remote),
		} {
			if !errors.Is(err, row.err) {
				t.Errorf("%s: errors.Is does not find %v", name, row.err)
			}
			if got := latchkey.CodeOf(err); got != row.code {
				t.Errorf("%s: CodeOf = %d, want %d", name, got, row.code)
			}
			for _, other := range codes {
				if other.code != row.code && errors.Is(err, other.err) {
					t.Errorf("%s of %v also matches %v", name, row.err, other.err)
				}
			}
		}
		if !strings.Contains(remote.Error(), remote.Op) || !strings.Contains(remote.Error(), row.code.String()) {
			t.Errorf("RemoteError = %q names not both operation and reason", remote)
		}
	}
}

func TestUnknownCode(t *testing.T) {
	const unknown = latchkey.Code(200)
	err := unknown.Err()
	var remote *latchkey.RemoteError
	if !errors.As(err, &remote) || remote.Code != unknown {
		t.Fatalf("Err = %#v, want a *RemoteError", err)
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			t.Errorf("an unknown code matches %v", row.err)
		}
	}
	if got := latchkey.CodeOf(fmt.Errorf("op: %w", err)); got != unknown {
		t.Errorf("CodeOf = %d, want %d", got, unknown)
	}
	if got := unknown.CoAP(); got != 5<<5 {
		t.Errorf("CoAP = %#x, want 5.00", got)
	}
}

func TestCodeOfStrangers(t *testing.T) {
	if got := latchkey.CodeOf(nil); got != 0 {
		t.Errorf("CodeOf(nil) = %d", got)
	}
	if err := latchkey.Code(0).Err(); err != nil {
		t.Errorf("Code(0).Err() = %v", err)
	}
	for _, err := range []error{
		io.EOF, context.Canceled, latchkey.ErrUnknownDevice, latchkey.ErrIdentityChanged,
		latchkey.ErrHandshakeRefused, latchkey.ErrKeyType, &latchkey.IdentityError{Device: "home"},
	} {
		if got := latchkey.CodeOf(err); got != latchkey.CodeInternal {
			t.Errorf("CodeOf(%v) = %d, want CodeInternal", err, got)
		}
	}
}

func TestIdentityError(t *testing.T) {
	got, _ := latchkey.ParseFingerprint(vectorFingerprint)
	want, _ := latchkey.ParseFingerprint(strings.Repeat("ab", 32))
	changed := &latchkey.IdentityError{Device: "home", Got: got, Want: []latchkey.Fingerprint{want}}
	if !errors.Is(changed, latchkey.ErrIdentityChanged) || errors.Is(changed, latchkey.ErrUnknownDevice) {
		t.Errorf("%v does not match ErrIdentityChanged alone", changed)
	}
	for _, part := range []string{"home", got.String(), want.String()} {
		if !strings.Contains(changed.Error(), part) {
			t.Errorf("%q does not name %q", changed, part)
		}
	}
	unknown := &latchkey.IdentityError{Device: "home", Got: got}
	if !errors.Is(unknown, latchkey.ErrUnknownDevice) || errors.Is(unknown, latchkey.ErrIdentityChanged) {
		t.Errorf("%v does not match ErrUnknownDevice alone", unknown)
	}
}

func ExampleRemoteError() {
	var err error = &latchkey.RemoteError{Op: "open tunnel ssh", Code: latchkey.CodeTargetRefused}
	fmt.Println(err)
	fmt.Println(errors.Is(err, latchkey.ErrTargetRefused))
	// Output:
	// open tunnel ssh: refused by the device: target refused the connection
	// true
}
