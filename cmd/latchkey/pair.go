package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

func (p *program) pair() *cobra.Command {
	var f pairFlags
	c := &cobra.Command{
		Use:   "pair [URL|-|HOST:PORT]",
		Short: "Make this client's key known to a device, and the device known here",
		Long: `Pair with the device of a pairing URL, which "latchkeyd pairing-url" or
"latchkeyd invite" prints; with - the URL comes from stdin, so that a password in
it stands in no list of processes. Pairing with a HOST:PORT shows the device's key
and asks; --accept-key answers. Without an argument, on a terminal, choose among
the devices of the local network. A device that knows this client's key already
is only recorded.

The device says which pairing modes are open. A password that is needed and not
in the URL is asked for on a terminal; --password-file answers. It is proved
without being shown, so a password pairs over any network.`,
		Example: "  latchkey pair \"$URL\" --as home",
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.runPair(c, args, f) },
	}
	c.Flags().StringVar(&f.alias, "as", "", "`ALIAS` for the device (default part of its id)")
	c.Flags().StringVar(&f.user, "user", "", "`NAME` to have on the device (default the URL's, or the login name)")
	c.Flags().StringVar(&f.accept, "accept-key", "", "`FINGERPRINT` to accept when the URL names no key")
	c.Flags().StringVar(&p.way.login, "login-token", "", "`FILE` with a JWT for the device, or - for stdin: pair nothing, and record the device that it opens")
	c.Flags().StringVar(&f.password, "password-file", "", "`FILE` with the password of the device or the invitation, or - for stdin")
	_ = c.MarkFlagFilename("password-file") // the flags exist
	_ = c.MarkFlagFilename("login-token")
	return p.JSONFlag(c)
}

// pairFlags are the choices of pair.
type pairFlags struct{ alias, user, accept, password string }

func (p *program) runPair(c *cobra.Command, args []string, f pairFlags) error {
	stdin := len(args) == 0 || args[0] == "-"
	switch {
	case f.password != "" && p.way.login != "":
		return cli.Usage("--password-file pairs and --login-token does without")
	case stdin && f.password == "-":
		return cli.Usage("the URL and --password-file - both want stdin")
	case stdin && p.way.login == "-":
		return cli.Usage("the URL and --login-token - both want stdin")
	}
	cl, err := p.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	url, err := p.pairingURL(c, cl, args)
	if err != nil {
		return err
	}
	o := client.PairOptions{Alias: f.alias, User: f.user}
	if err := p.withPassword(f.password, &o); err != nil {
		return err
	}
	var dial client.DialOptions
	if err := p.loginToken(&dial); err != nil {
		return err
	}
	o.Login = dial.Login
	if err := p.accepting(url, f.accept, &o); err != nil {
		return err
	}
	paired, err := cl.Pair(c.Context(), url, o)
	if err != nil {
		return explainPair(err, url)
	}
	return p.PrintLine(paired, pairedText(paired))
}

func pairedText(paired *client.Paired) string {
	form := "paired with %s as user %s, role %s; key %s"
	switch {
	case paired.Token:
		form = "recorded %s: a token lets this client in as %s, role %s; the device's key is %s"
	case paired.Already:
		form = "recorded %s: the device already knows this key as user %s, role %s; its own key is %s"
	}
	return fmt.Sprintf(form, paired.Alias, clean(paired.User), clean(paired.Role), paired.Key)
}

// pairingURL finds out whom to pair with.
func (p *program) pairingURL(c *cobra.Command, cl *client.Client, args []string) (*latchkey.PairingURL, error) {
	if len(args) == 0 {
		if !p.Interactive() {
			return nil, cli.Usage("a pairing URL or HOST:PORT is needed, since stdin is not a terminal")
		}
		list, err := search(c.Context(), cl, searchTime)
		if err != nil {
			return nil, err
		}
		return p.choose(list)
	}
	text := args[0]
	if text == "-" {
		var err error
		if text, err = p.readLine(); err != nil {
			return nil, err
		}
	}
	if host, port, err := net.SplitHostPort(text); err == nil && host != "" && !strings.Contains(text, "/") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return &latchkey.PairingURL{Addrs: []string{text}}, nil
		}
	}
	url, err := latchkey.ParsePairingURL(text)
	if err != nil {
		return nil, cli.Usage("%w", err)
	}
	return url, nil
}

// choose asks for one of the devices found. Its claimed key is left out, so
// that the one that it proves is shown and asked about.
func (p *program) choose(list []client.Found) (*latchkey.PairingURL, error) {
	if len(list) == 0 {
		return nil, cli.WithNext(errNobody, "latchkey pair URL, or latchkey pair HOST:PORT")
	}
	for i, f := range list {
		fmt.Fprintf(p.Err, "%3d  %s  %s  %s\n", i+1, f.ID, clean(f.Name), strings.Join(addrs(f), " "))
	}
	answer, err := p.ask(fmt.Sprintf("Pair with which device, 1 to %d? ", len(list)))
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(answer)
	if err != nil || n < 1 || n > len(list) {
		return nil, cli.Usage("%q is no number from 1 to %d", answer, len(list))
	}
	return &latchkey.PairingURL{ID: list[n-1].ID, Addrs: addrs(list[n-1])}, nil
}

// accepting sets how the key of the device is judged.
func (p *program) accepting(url *latchkey.PairingURL, text string, o *client.PairOptions) error {
	if text == "" {
		if url.Key.IsZero() && !p.Interactive() && o.Password.IsZero() {
			return cli.WithNext(errors.New("an address alone names no key, and nobody is here to be asked"),
				"repeat it with --accept-key and what latchkeyd fingerprint prints on the device")
		}
		if p.Interactive() {
			o.AcceptKey = p.askKey
		}
		return nil
	}
	want, err := parseFingerprint(text)
	if err != nil {
		return err
	}
	if url.Key.IsZero() {
		url.Key = want // pinned from the start
	} else if url.Key != want {
		return cli.Usage("--accept-key %s is not the key of the URL, %s", want, url.Key)
	}
	return nil
}

var errNotAccepted = errors.New("the device's key was not accepted")

func (p *program) askKey(key latchkey.Fingerprint) error {
	fmt.Fprintf(p.Err, "The device has the key\n\n  %s\n\nCompare it with \"latchkeyd fingerprint\" on the device.\n", key)
	answer, err := p.ask("Is it the same? [y/N] ")
	if err != nil {
		return err
	}
	if answer != "y" && answer != "yes" {
		return errNotAccepted
	}
	return nil
}

// ask reads one line from the terminal.
func (p *program) ask(question string) (string, error) {
	fmt.Fprint(p.Err, question)
	line, err := p.readLine()
	return strings.ToLower(line), err
}

// readLine reads one line from stdin, of at most the size of its buffer.
func (p *program) readLine() (string, error) {
	line, more, err := p.line.ReadLine()
	switch {
	case more:
		return "", errors.New("the line on stdin is too long")
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	}
	return strings.TrimSpace(string(line)), nil
}
