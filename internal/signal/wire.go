package signal

import (
	"net/netip"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// What a message looks like where Go's types are not the wire's: times are
// milliseconds since the epoch, 0 for none.

const lastMilli = 253402300799999 // the end of the year 9999

func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

type attachWire struct {
	ID      latchkey.DeviceID `cbor:"1,keyasint"`
	Version string            `cbor:"2,keyasint,omitempty"`
	Time    int64             `cbor:"3,keyasint,omitempty"`
}

// MarshalCBOR implements cbor.Marshaler.
func (a *Attach) MarshalCBOR() ([]byte, error) {
	return encoder.Marshal(attachWire{a.ID, a.Version, toMilli(a.Time)})
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (a *Attach) UnmarshalCBOR(b []byte) error {
	var w attachWire
	if err := decoder.Unmarshal(b, &w); err != nil {
		return err
	}
	*a = Attach{ID: w.ID, Version: w.Version, Time: fromMilli(w.Time)}
	return nil
}

type attachedWire struct {
	Time          int64          `cbor:"1,keyasint"`
	Mapped        netip.AddrPort `cbor:"2,keyasint,omitzero"`
	Servers       []string       `cbor:"3,keyasint,omitempty"`
	TokensVersion uint64         `cbor:"4,keyasint,omitempty"`
}

// MarshalCBOR implements cbor.Marshaler.
func (a *Attached) MarshalCBOR() ([]byte, error) {
	return encoder.Marshal(attachedWire{toMilli(a.Time), a.Mapped, a.Servers, a.TokensVersion})
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (a *Attached) UnmarshalCBOR(b []byte) error {
	var w attachedWire
	if err := decoder.Unmarshal(b, &w); err != nil {
		return err
	}
	*a = Attached{
		Time: fromMilli(w.Time), Mapped: w.Mapped, Servers: w.Servers, TokensVersion: w.TokensVersion,
	}
	return nil
}

type tokenWire struct {
	Hash    Sum                  `cbor:"1,keyasint"`
	Key     latchkey.Fingerprint `cbor:"2,keyasint,omitzero"`
	Expires int64                `cbor:"3,keyasint,omitempty"`
	Uses    int                  `cbor:"4,keyasint,omitempty"`
}

// MarshalCBOR implements cbor.Marshaler.
func (t Token) MarshalCBOR() ([]byte, error) {
	return encoder.Marshal(tokenWire{t.Hash, t.Key, toMilli(t.Expires), t.Uses})
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (t *Token) UnmarshalCBOR(b []byte) error {
	var w tokenWire
	if err := decoder.Unmarshal(b, &w); err != nil {
		return err
	}
	*t = Token{Hash: w.Hash, Key: w.Key, Expires: fromMilli(w.Expires), Uses: w.Uses}
	return nil
}

type grantWire struct {
	Username string         `cbor:"1,keyasint"`
	Password string         `cbor:"2,keyasint"`
	Self     netip.AddrPort `cbor:"3,keyasint"`
	Peer     netip.AddrPort `cbor:"4,keyasint"`
	Expires  int64          `cbor:"5,keyasint"`
}

// MarshalCBOR implements cbor.Marshaler.
func (g Grant) MarshalCBOR() ([]byte, error) {
	return encoder.Marshal(grantWire{g.Username, g.Password, g.Self, g.Peer, toMilli(g.Expires)})
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (g *Grant) UnmarshalCBOR(b []byte) error {
	var w grantWire
	if err := decoder.Unmarshal(b, &w); err != nil {
		return err
	}
	*g = Grant{w.Username, w.Password, w.Self, w.Peer, fromMilli(w.Expires)}
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s SessionID) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; 16 bytes it must be.
func (s *SessionID) UnmarshalBinary(b []byte) error {
	if len(b) != len(s) {
		return invalid("session id of %d bytes", len(b))
	}
	copy(s[:], b)
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s Sum) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; 32 bytes it must be.
func (s *Sum) UnmarshalBinary(b []byte) error {
	if len(b) != len(s) {
		return invalid("hash of %d bytes", len(b))
	}
	copy(s[:], b)
	return nil
}
