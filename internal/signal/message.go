package signal

import (
	"encoding/hex"
	"log/slog"
	"net/netip"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Paths of the CoAP resources, one segment each.
const (
	PathAttach     = "attach"
	PathTokens     = "tokens"
	PathConnect    = "connect"
	PathIntroduce  = "introduce"
	PathAnswer     = "answer"
	PathCandidates = "candidates"
	PathLeave      = "leave"
)

// A SessionID names an introduction. The client draws it at random.
type SessionID [16]byte

// A Sum is a SHA-256.
type Sum [32]byte

// Attach is a device's request for presence: POST attach, answered by 2.01
// Attached or refused with latchkey.CodeNotRegistered, CodeWrongID or
// CodeTooMany.
type Attach struct {
	ID      latchkey.DeviceID
	Version string    // of the device's software, for people
	Time    time.Time // the device's clock; milliseconds on the wire
}

// Attached says how a device stays attached.
type Attached struct {
	Time          time.Time      // the basestation's clock
	Mapped        netip.AddrPort // where the device's datagrams come from
	Servers       []string       // host:port for STUN; none that is an IP address: where the basestation was reached
	TokensVersion uint64         // of the tokens the basestation has
}

// Tokens replaces all tokens of a device: PUT tokens, answered by 2.04, or by
// latchkey.CodeConflict with a TokensState as body when Version is not above
// the one that the basestation has.
type Tokens struct {
	Version uint64  `cbor:"1,keyasint"`
	List    []Token `cbor:"2,keyasint,omitempty"`
}

// A Token lets whoever shows the connect token of this hash be introduced.
type Token struct {
	Hash    Sum
	Key     latchkey.Fingerprint // the only key that may show it; zero: whoever holds it
	Expires time.Time            // zero: never
	Uses    int                  // zero: unlimited
}

// TokensState says which tokens the basestation has.
type TokensState struct {
	Version uint64 `cbor:"1,keyasint"`
}

// Connect is a client's request to be introduced: POST connect, answered by
// 2.01 Connected. A client without a valid token is told 4.03 whatever the
// reason. With one it is told latchkey.CodeOffline when the device is away,
// or, with Wait, Connected with Waiting set and later an Answer.
type Connect struct {
	ID    latchkey.DeviceID `cbor:"1,keyasint"`
	SCT   string            `cbor:"2,keyasint,omitempty"` // exactly one of SCT
	JWT   string            `cbor:"3,keyasint,omitempty"` // and JWT
	Wait  bool              `cbor:"4,keyasint,omitempty"`
	Offer Offer             `cbor:"5,keyasint"`
}

// Connected says that the introduction has begun.
type Connected struct {
	Session SessionID `cbor:"1,keyasint"`
	Relay   *Grant    `cbor:"2,keyasint,omitempty"`
	Servers []string  `cbor:"3,keyasint,omitempty"`
	Waiting bool      `cbor:"4,keyasint,omitempty"` // for the device to attach
}

// Introduce asks a device for its own offer: POST introduce, answered by 2.01
// Introduced or refused with a code.
type Introduce struct {
	Session SessionID            `cbor:"1,keyasint"`
	Client  latchkey.Fingerprint `cbor:"2,keyasint"` // as the basestation says; the offer proves it
	Offer   Offer                `cbor:"3,keyasint"`
	Relay   *Grant               `cbor:"4,keyasint,omitempty"`
	Servers []string             `cbor:"5,keyasint,omitempty"`
}

// Introduced carries the device's offer.
type Introduced struct {
	Offer Offer `cbor:"1,keyasint"`
}

// Answer brings the client the device's offer, or the reason why there is none:
// POST answer, answered by 2.04.
type Answer struct {
	Session SessionID     `cbor:"1,keyasint"`
	Offer   *Offer        `cbor:"2,keyasint,omitempty"` // exactly one of Offer
	Code    latchkey.Code `cbor:"3,keyasint,omitempty"` // and Code
	Relay   *Grant        `cbor:"4,keyasint,omitempty"`
}

// Candidates are ICE candidates found later (trickle, RFC 8838): POST
// candidates, answered by 2.04.
type Candidates struct {
	Session SessionID `cbor:"1,keyasint"`
	List    []string  `cbor:"2,keyasint,omitempty"` // candidate-attribute, RFC 8839 section 5.1
	Last    bool      `cbor:"3,keyasint,omitempty"` // there will be no more
}

// Leave ends an introduction and its relay: POST leave, answered by 2.04.
type Leave struct {
	Session SessionID `cbor:"1,keyasint"`
}

// A Grant lets one side of an introduction use the relay. Self and Peer are the
// names of the two relayed addresses.
type Grant struct {
	Username, Password string
	Self, Peer         netip.AddrPort
	Expires            time.Time // first use before; milliseconds on the wire
}

// String leaves the password out.
func (g Grant) String() string { return g.Username + " REDACTED " + g.Self.String() }

// GoString leaves the password out.
func (g Grant) GoString() string { return g.String() }

// LogValue implements slog.LogValuer. It leaves the password out.
func (g Grant) LogValue() slog.Value { return slog.StringValue(g.String()) }

// String returns 32 hexadecimal digits.
func (s SessionID) String() string { return hex.EncodeToString(s[:]) }

// LogValue implements slog.LogValuer.
func (s SessionID) LogValue() slog.Value { return slog.StringValue(s.String()) }
