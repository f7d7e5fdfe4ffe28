package cli

import (
	"errors"
	"fmt"
	"strings"
)

// WithNext attaches the step that a person takes after err.
func WithNext(err error, step string) error { return &nextError{err, step} }

type nextError struct {
	err  error
	step string
}

func (e *nextError) Error() string { return e.err.Error() }
func (e *nextError) Unwrap() error { return e.err }

// NextStep returns the step. Other packages' errors may have such a method too.
func (e *nextError) NextStep() string { return e.step }

// Usage makes an error that ends the program with ExitUsage.
func Usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func isUsage(err error) bool {
	var u *usageError
	return errors.As(err, &u)
}

// report writes cause and next step of what command returned to stderr.
func (a *App) report(err error, command string) {
	fmt.Fprintf(a.Err, "%s: %s\n", a.Name, Cause(err))
	if step := a.next(err, command); step != "" {
		fmt.Fprintf(a.Err, "next: %s\n", step)
	}
}

// packages prefix their errors with their names, which say nothing to the
// person in front of a program.
var packages = []string{
	"latchkey: ", "acl: ", "client: ", "device: ", "discover: ", "pairing: ", "secure: ", "session: ", "stream: ", "tunnel: ",
	"registry: ", "basestation: ", "bearer: ", "uplink: ", "route: ", "rendezvous: ", "coap: ",
}

// Cause is the error's text without the names of packages.
func Cause(err error) string {
	text := ": " + err.Error()
	for _, name := range packages {
		text = strings.ReplaceAll(text, ": "+name, ": ")
	}
	return strings.TrimSpace(strings.TrimPrefix(text, ": "))
}

func (a *App) next(err error, command string) string {
	var hinted interface{ NextStep() string }
	if errors.As(err, &hinted) && hinted.NextStep() != "" {
		return hinted.NextStep()
	}
	if a.Next != nil {
		if step := a.Next(err); step != "" {
			return step
		}
	}
	if !a.ran || isUsage(err) {
		return command + " --help"
	}
	return ""
}

// Note writes a trouble that does not end the program to stderr.
func (a *App) Note(about string, err error) {
	if about != "" {
		about += ": "
	}
	fmt.Fprintf(a.Err, "%s: %s%s\n", a.Name, about, Cause(err))
}

// Hint writes a step that a person takes next to stderr.
func (a *App) Hint(step string) { fmt.Fprintf(a.Err, "next: %s\n", step) }
