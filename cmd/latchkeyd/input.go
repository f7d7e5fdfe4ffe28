package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/cli"
	"github.com/latchkey-dev/latchkey/pairing"
)

// readPassword reads a password from a file that nobody else can read, or from
// stdin.
func (p *program) readPassword(name string) (latchkey.Secret, error) {
	const flag = "--password-file"
	in := p.In
	if name != "-" {
		info, err := os.Stat(name)
		if err != nil {
			return latchkey.Secret{}, err
		}
		if err := private(name, info); err != nil {
			return latchkey.Secret{}, err
		}
		f, err := os.Open(name)
		if err != nil {
			return latchkey.Secret{}, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, pairing.MaxPassword+3)) // and the end of a line
	if err != nil {
		return latchkey.Secret{}, err
	}
	password := strings.TrimRight(string(text), "\r\n")
	if n := len(password); n < pairing.MinPassword || n > pairing.MaxPassword || strings.ContainsAny(password, "\r\n") {
		return latchkey.Secret{}, cli.Usage("%s %s: a password is one line of %d to %d bytes", flag, name, pairing.MinPassword, pairing.MaxPassword)
	}
	return latchkey.NewSecret(password), nil
}

// private refuses a file that others can read: they would know the password.
func private(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name) // opening anything else could wait for ever
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return cli.WithNext(fmt.Errorf("%s has mode %04o, so others on this machine may have read the password", name, info.Mode().Perm()),
			"choose another password, and write it into a file of mode 0600")
	}
	return nil
}

// readFile reads a file that a person wrote, or stdin for -, of at most limit
// bytes and one more.
func (p *program) readFile(name string, limit int64) ([]byte, error) {
	in := p.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}
