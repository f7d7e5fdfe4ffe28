package signal

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Limits of messages. MaxTokens is of tokens in one Tokens; sizes are in bytes.
const (
	MaxTokens        = 4096
	MaxCandidates    = 32
	MaxCandidateSize = 256
	MaxServers       = 8
	MaxJWT           = 8 << 10
	// MaxMessage is the largest message but Tokens, MaxTokensMessage the
	// largest Tokens.
	MaxMessage       = 24 << 10
	MaxTokensMessage = 512 << 10
)

const (
	maxServer    = 261     // 255 of a host name, colon, five digits
	maxVersion   = 64      // of software
	maxUses      = 1 << 30 // of a token
	maxUsername  = 512     // RFC 8489 section 14.3 allows 508
	sctSize      = 22
	minPwd       = 22 // RFC 8839 section 5.4
	minUfrag     = 4
	maxIce       = 256
	resumeSize   = 16
	keySize      = 91 // SPKI of a P-256 key
	maxSignature = 72 // ECDSA on P-256, ASN.1
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", latchkey.ErrProtocol, fmt.Sprintf(format, args...))
}

// first returns the first error of a list of checks.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func must(ok bool, what string) error {
	if !ok {
		return invalid("%s", what)
	}
	return nil
}

// printable reports whether s is visible ASCII and spaces only.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func validID(id latchkey.DeviceID) error { return must(id.Valid(), "device id") }

func validSession(s SessionID) error { return must(s != SessionID{}, "session id is zero") }

func validServers(list []string) error {
	if len(list) > MaxServers {
		return invalid("%d servers", len(list))
	}
	for _, s := range list {
		host, port, err := net.SplitHostPort(s)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 ||
			host == "" || len(s) > maxServer || !printable(s) {
			return invalid("server is not host:port")
		}
	}
	return nil
}

func validCandidates(list []string) error {
	if len(list) > MaxCandidates {
		return invalid("%d candidates", len(list))
	}
	for _, c := range list {
		if c == "" || len(c) > MaxCandidateSize || !printable(c) {
			return invalid("candidate of %d bytes", len(c))
		}
	}
	return nil
}

func validTime(t time.Time) error {
	ms := t.UnixMilli()
	return must(t.IsZero() || ms > 0 && ms <= lastMilli, "time is out of range")
}

// Valid reports what is wrong with the message.
func (a *Attach) Valid() error {
	return first(validID(a.ID), validTime(a.Time),
		must(len(a.Version) <= maxVersion && printable(a.Version), "version"))
}

// Valid reports what is wrong with the message.
func (a *Attached) Valid() error {
	return first(validTime(a.Time), validServers(a.Servers))
}

// Valid reports what is wrong with the message.
func (t *Tokens) Valid() error {
	if len(t.List) > MaxTokens {
		return invalid("%d tokens", len(t.List))
	}
	seen := make(map[Sum]struct{}, len(t.List))
	for i := range t.List {
		if err := t.List[i].Valid(); err != nil {
			return err
		}
		seen[t.List[i].Hash] = struct{}{}
	}
	return must(len(seen) == len(t.List), "a token stands there twice")
}

// Valid reports what is wrong with the token.
func (t *Token) Valid() error {
	return first(must(t.Hash != Sum{}, "hash is zero"), validTime(t.Expires),
		must(t.Uses >= 0 && t.Uses <= maxUses, "uses"))
}

// Valid is always nil.
func (t *TokensState) Valid() error { return nil }

// Valid reports what is wrong with the message. The offer must be a client's,
// for the same device; its signature is not looked at.
func (c *Connect) Valid() error {
	return first(validID(c.ID), c.Offer.Valid(),
		must((c.SCT == "") != (c.JWT == ""), "exactly one token"),
		must(c.SCT == "" || len(c.SCT) == sctSize, "connect token"),
		must(len(c.JWT) <= MaxJWT && printable(c.JWT), "token"),
		must(c.Offer.Role == RoleClient && c.Offer.Device == c.ID, "offer is for something else"))
}

// Valid reports what is wrong with the message.
func (c *Connected) Valid() error {
	return first(validSession(c.Session), c.Relay.valid(), validServers(c.Servers))
}

// Valid reports what is wrong with the message.
func (i *Introduce) Valid() error {
	return first(validSession(i.Session), i.Offer.Valid(), i.Relay.valid(), validServers(i.Servers),
		must(!i.Client.IsZero(), "client is zero"),
		must(i.Offer.Role == RoleClient && i.Offer.Session == i.Session, "offer is for something else"))
}

// Valid reports what is wrong with the message.
func (i *Introduced) Valid() error {
	return first(i.Offer.Valid(), must(i.Offer.Role == RoleDevice, "offer is not a device's"))
}

// Valid reports what is wrong with the message.
func (a *Answer) Valid() error {
	err := first(validSession(a.Session), a.Relay.valid(),
		must((a.Offer == nil) != (a.Code == 0), "exactly one of offer and code"))
	if err != nil || a.Offer == nil {
		return err
	}
	return first(a.Offer.Valid(),
		must(a.Offer.Role == RoleDevice && a.Offer.Session == a.Session, "offer is for something else"))
}

// Valid reports what is wrong with the message.
func (c *Candidates) Valid() error {
	return first(validSession(c.Session), validCandidates(c.List), must(c.Last || len(c.List) > 0, "no candidates"))
}

// Valid reports what is wrong with the message.
func (l *Leave) Valid() error { return validSession(l.Session) }

// valid accepts a grant that is not there.
func (g *Grant) valid() error {
	if g == nil {
		return nil
	}
	return g.Valid()
}

// Valid reports what is wrong with the grant.
func (g *Grant) Valid() error {
	return first(validTime(g.Expires), validName(g.Self), validName(g.Peer),
		must(g.Self != g.Peer, "both relayed addresses are the same"),
		must(!g.Expires.IsZero(), "grant without an end"),
		must(g.Username != "" && len(g.Username) <= maxUsername && printable(g.Username), "user name"),
		must(g.Password != "" && len(g.Password) <= maxUsername && printable(g.Password), "password"))
}

func validName(a netip.AddrPort) error {
	return must(a.IsValid() && a.Port() != 0 && !a.Addr().Is4In6() && a.Addr().Zone() == "", "relayed address")
}
