package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/pairing"
)

const (
	maxPassword = 1024 // bytes of a file with one
	guesses     = 3    // at a password on a terminal; the device takes few
	guessPause  = time.Second
)

// withPassword sets the password, or who is asked for it.
func (p *program) withPassword(file string, o *client.PairOptions) error {
	if file == "" {
		if p.Interactive() {
			o.AskPassword = p.askPassword
		}
		return nil
	}
	text, err := p.readSmall("--password-file", file, maxPassword)
	if err != nil {
		return err
	}
	if o.Password = latchkey.NewSecret(strings.TrimRight(string(text), "\r\n")); o.Password.IsZero() {
		return cli.Usage("--password-file %s: there is no password in it", file)
	}
	return nil
}

// askPassword asks on the terminal, after a wrong password a little later.
func (p *program) askPassword(ctx context.Context, q client.PasswordQuestion) (latchkey.Secret, error) {
	if q.Wrong >= guesses {
		return latchkey.Secret{}, latchkey.ErrWrongPassword
	}
	if q.Wrong > 0 {
		fmt.Fprintln(p.Err, "That is not the password.")
		if !pause(ctx, time.Duration(q.Wrong)*guessPause) {
			return latchkey.Secret{}, context.Cause(ctx)
		}
	}
	of := "Password of " + q.Device.String() + ": "
	if q.Mode == pairing.Invite {
		of = "Password of the invitation: "
	}
	text, err := p.readSecret(ctx, of)
	if err == nil && text == "" {
		err = errors.New("no password was given")
	}
	return latchkey.NewSecret(text), err
}

// readSecret reads a line from the terminal without showing it. The terminal
// shows again what is typed when ctx ends before.
func (p *program) readSecret(ctx context.Context, question string) (string, error) {
	in, ok := p.In.(*os.File)
	if !ok {
		return "", errors.New("stdin is not a terminal")
	}
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(p.Err, question)
	defer fmt.Fprintln(p.Err)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // ends with the line, or with the process
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(fd, before) // the process ends
		return "", context.Cause(ctx)
	}
}

// explainPair says what to do when a pairing is not possible as it was tried.
func explainPair(err error, url *latchkey.PairingURL) error {
	changed := otherKey(err)
	var missing *pairing.MissingError
	switch {
	case errors.Is(err, latchkey.ErrConflict) && changed != nil:
		return cli.WithNext(err, "choose another alias with --as; or, only if the device was replaced on purpose, latchkey trust "+
			changed.Device+" "+changed.Got.String())
	case changed != nil:
		return cli.WithNext(err, "compare with \"latchkeyd fingerprint\" on the device, and do not pair unless they are the same")
	case errors.Is(err, latchkey.ErrConflict):
		return cli.WithNext(err, "choose another name with --user")
	case errors.Is(err, latchkey.ErrWrongPassword):
		return cli.WithNext(err, "look the password up and repeat the command: the device takes few wrong ones, and none of them at once")
	case errors.Is(err, latchkey.ErrTooMany):
		return cli.WithNext(err, "if passwords were wrong, wait an hour; else wait a little and repeat the command")
	case errors.Is(err, client.ErrNoPassword), errors.As(err, &missing) && missing.Password:
		return cli.WithNext(err, "repeat the command with --password-file FILE, or on a terminal, where it asks")
	case errors.As(err, &missing) && missing.Invite:
		return cli.WithNext(err, "ask the device's owner for an invitation, which latchkeyd invite prints")
	case url.Invite != "" && (errors.Is(err, latchkey.ErrPairingClosed) || errors.Is(err, latchkey.ErrHandshakeRefused)):
		return cli.WithNext(err, "an invitation works once and not for ever: ask the device's owner for a new one")
	}
	return err
}
