package latchkey

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	pairingScheme  = "latchkey"
	maxPairingURL  = 2048
	maxPairingAddr = 16
	maxPairingHost = 253 // RFC 1035 section 2.3.4, in text
	maxPairingWord = 128 // bytes of a user name or invite id
)

// A PairingURL is what a device prints, or shows as a QR code, so that a
// client can find it and know its key:
//
//	latchkey://PRODUCT/DEVICE?k=FINGERPRINT&a=HOST:PORT&b=HOST:PORT&bk=FINGERPRINT&u=USER&i=INVITE-ID&p=PASSWORD&t=SCT
//
// Addresses are hints that prove nothing; the key decides.
type PairingURL struct {
	ID             DeviceID
	Key            Fingerprint // k: the device's key; zero when the URL does not say
	Addrs          []string    // a: HOST:PORT where the device listens, tried first
	Basestations   []string    // b: HOST:PORT of its basestation
	BasestationKey Fingerprint // bk
	User           string      // u: the user that an invitation is for
	Invite         string      // i: the invitation's random id
	Password       Secret      // p
	Token          ConnectToken
}

// ParsePairingURL reads a pairing URL. Unknown or repeated parameters are
// errors (only a and b repeat), and so is anything over 2 KiB. Its errors name
// the parameter and never echo its value.
func ParsePairingURL(s string) (*PairingURL, error) {
	if len(s) > maxPairingURL {
		return nil, fmt.Errorf("latchkey: pairing URL is longer than %d bytes", maxPairingURL)
	}
	raw, err := url.Parse(s)
	if err != nil || raw.Scheme != pairingScheme || raw.Opaque != "" || raw.User != nil || raw.Fragment != "" {
		return nil, errors.New("latchkey: not a pairing URL: it begins with latchkey://PRODUCT/DEVICE?")
	}
	id, err := ParseDeviceID(raw.Host + raw.EscapedPath())
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(raw.RawQuery)
	if err != nil {
		return nil, errors.New("latchkey: the parameters of the pairing URL cannot be read")
	}
	u := &PairingURL{ID: id}
	for name, values := range query {
		if err := u.set(name, values); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u *PairingURL) set(name string, values []string) (err error) {
	value := values[0]
	switch name {
	case "k":
		u.Key, err = ParseFingerprint(value)
	case "bk":
		u.BasestationKey, err = ParseFingerprint(value)
	case "a":
		u.Addrs, err = checkAddrs(values)
	case "b":
		u.Basestations, err = checkAddrs(values)
	case "u":
		u.User, err = checkWord(value)
	case "i":
		u.Invite, err = checkWord(value)
	case "p":
		u.Password = NewSecret(value)
	case "t":
		u.Token, err = ParseConnectToken(value)
	default:
		// Not echoed: it may be the rest of a password that was not escaped.
		return errors.New("latchkey: pairing URL has an unknown parameter; there are k, a, b, bk, u, i, p and t")
	}
	if err == nil && len(values) > 1 && name != "a" && name != "b" {
		err = errors.New("latchkey: stands there more than once")
	}
	if err != nil {
		return fmt.Errorf("pairing URL parameter %q: %w", name, err)
	}
	return nil
}

// checkWord keeps out what could forge a line on a terminal. The device has
// stricter rules for user names.
func checkWord(s string) (string, error) {
	if len(s) > maxPairingWord || !utf8.ValidString(s) {
		return "", fmt.Errorf("latchkey: not UTF-8 of at most %d bytes", maxPairingWord)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return "", errors.New("latchkey: has a character that cannot be printed")
		}
	}
	return s, nil
}

func checkAddrs(addrs []string) ([]string, error) {
	if len(addrs) > maxPairingAddr {
		return nil, fmt.Errorf("latchkey: more than %d addresses", maxPairingAddr)
	}
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil || !validHost(host) {
			return nil, errors.New("latchkey: an address is HOST:PORT")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("latchkey: a port is a number from 1 to 65535")
		}
	}
	return addrs, nil
}

// validHost takes names and IP addresses, with a zone as in fe80::1%eth0.
func validHost(host string) bool {
	const special = ".-_:%"
	for _, c := range []byte(host) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(special, c) < 0 {
			return false
		}
	}
	return host != "" && len(host) <= maxPairingHost
}

// Reveal returns the URL with its secrets, to be shown to the one person it is
// for. Parameters stand in a fixed order.
func (u *PairingURL) Reveal() string { return u.format(u.Password.Reveal(), u.Token.Reveal()) }

// String returns the URL with its secrets redacted.
func (u *PairingURL) String() string { return u.format(u.Password.String(), u.Token.String()) }

// MarshalText returns the redacted form, so that no document carries secrets
// by accident.
func (u *PairingURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue implements slog.LogValuer with the redacted form.
func (u *PairingURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

func (u *PairingURL) format(password, token string) string {
	var query []string
	add := func(name, value string) {
		if value != "" {
			query = append(query, name+"="+escapeQuery(value))
		}
	}
	add("k", u.Key.String())
	for _, a := range u.Addrs {
		add("a", a)
	}
	for _, b := range u.Basestations {
		add("b", b)
	}
	add("bk", u.BasestationKey.String())
	add("u", u.User)
	add("i", u.Invite)
	add("p", password)
	add("t", token)
	s := pairingScheme + "://" + u.ID.String()
	if len(query) > 0 {
		s += "?" + strings.Join(query, "&")
	}
	return s
}

// escapeQuery is url.QueryEscape, but leaves the characters of addresses
// readable, as RFC 3986 section 3.4 allows.
func escapeQuery(s string) string {
	return strings.NewReplacer("%3A", ":", "%5B", "[", "%5D", "]").Replace(url.QueryEscape(s))
}
