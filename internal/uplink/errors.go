package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/latchkey-dev/latchkey"
)

var (
	// ErrUnreachable reports that nobody answered at an address.
	ErrUnreachable = errors.New("uplink: basestation is unreachable")
	// ErrProxy reports a proxy that did not connect us. *ProxyError matches it.
	ErrProxy = errors.New("uplink: proxy did not connect")
)

// A KeyError reports a basestation with another key than the pinned one;
// suspect an attack. It matches latchkey.ErrIdentityChanged.
type KeyError struct {
	Addr string
	Got  latchkey.Fingerprint // zero: a key of another kind than ours
	Want latchkey.Fingerprint
}

// Error names both keys.
func (e *KeyError) Error() string {
	if e.Got.IsZero() {
		return fmt.Sprintf("basestation %s answered with a key of another kind, but its known key is %s", e.Addr, e.Want)
	}
	return fmt.Sprintf("basestation %s answered with key %s, but its known key is %s", e.Addr, e.Got, e.Want)
}

// Is reports that the identity changed.
func (e *KeyError) Is(target error) bool { return target == latchkey.ErrIdentityChanged }

// A ProxyError reports why a proxy did not connect us. It never contains the
// proxy's credentials. It matches ErrProxy.
type ProxyError struct {
	Proxy  string // host and port
	Status int    // of its answer; 0: it gave none
	Cause  error  // why there is no answer
}

// Error says what the proxy answered.
func (e *ProxyError) Error() string {
	switch {
	case e.Status == 407:
		return fmt.Sprintf("proxy %s wants other credentials (407)", e.Proxy)
	case e.Status != 0:
		return fmt.Sprintf("proxy %s refused to connect (%d)", e.Proxy, e.Status)
	}
	return fmt.Sprintf("proxy %s: %v", e.Proxy, e.Cause)
}

// Is reports that it was the proxy.
func (e *ProxyError) Is(target error) bool { return target == ErrProxy }

// Unwrap returns why there is no answer.
func (e *ProxyError) Unwrap() error { return e.Cause }

// failures is why each of several ways failed.
type failures []error

// Error implements error, saying the same thing once.
func (f failures) Error() string {
	var all []string
	for _, err := range f {
		if s := err.Error(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, "; ")
}

// Unwrap lets errors.Is and errors.As look at each.
func (f failures) Unwrap() []error { return f }

// unreachable tells whether err says that nobody answered. On Windows the
// system's errors have other numbers, and a net.Error says so.
func unreachable(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return true
	case errors.As(err, &op) && op.Op == "dial":
		return true
	}
	return slices.ContainsFunc([]error{
		context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET,
		syscall.EPIPE, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ETIMEDOUT,
	}, func(target error) bool { return errors.Is(err, target) })
}

// explain adds to an error where it happened, and what it means.
func explain(transport, addr string, err error) error {
	var key *KeyError
	var proxy *ProxyError
	switch {
	case errors.As(err, &key), errors.As(err, &proxy), !unreachable(err):
		return fmt.Errorf("%s to %s: %w", transport, addr, err)
	}
	return fmt.Errorf("%s to %s: %w: %w", transport, addr, ErrUnreachable, err)
}
