package signal

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/latchkey-dev/latchkey"
)

// A Message is a pointer to one of the message types of this package.
type Message interface {
	// Valid returns an error that matches latchkey.ErrProtocol when the message
	// breaks a rule of docs/protocol.md.
	Valid() error
}

var encoder, decoder = modes()

func modes() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		TextMarshaler: cbor.TextMarshalerTextString,
	}.EncMode()
	if err != nil {
		panic(err) // the options above are constant
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  6,
		MaxArrayElements: MaxTokens,
		MaxMapPairs:      32,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
}

func limit(m Message) int {
	if _, ok := m.(*Tokens); ok {
		return MaxTokensMessage
	}
	return MaxMessage
}

// Marshal encodes m. It refuses an invalid message.
func Marshal(m Message) ([]byte, error) {
	if err := m.Valid(); err != nil {
		return nil, err
	}
	b, err := encoder.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("signal: %w", err)
	}
	if len(b) > limit(m) {
		return nil, fmt.Errorf("signal: message of %d bytes: %w", len(b), latchkey.ErrTooLarge)
	}
	return b, nil
}

// Unmarshal decodes b into m, which must be zero, and checks it. Map keys that
// it does not know are skipped. The error matches latchkey.ErrProtocol, or
// latchkey.ErrTooLarge; it does not repeat the input.
func Unmarshal(b []byte, m Message) error {
	if len(b) > limit(m) {
		return fmt.Errorf("signal: message of %d bytes: %w", len(b), latchkey.ErrTooLarge)
	}
	if err := decoder.Unmarshal(b, m); err != nil {
		return invalid("not a %T", m)
	}
	return m.Valid()
}
