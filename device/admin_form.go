package device

import (
	"fmt"
	"maps"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/form"
)

// maxForm is the longest body of an administrator's request in bytes, except
// for policies.
const maxForm = 16 << 10

// fields are the variables that the fields of a JSON object are read into.
type fields map[string]any

// readForm reads one JSON object with fields that must be there, and others that
// may. What form.Read does not take is latchkey.ErrProtocol. Nothing at all is the
// empty object. It returns which fields there were.
func readForm(text []byte, must, may fields) (there map[string]bool, err error) {
	if len(text) > maxForm {
		return nil, fmt.Errorf("body of %d bytes: %w", len(text), latchkey.ErrTooLarge)
	}
	if len(text) == 0 {
		text = []byte("{}")
	}
	known := maps.Clone(may)
	if known == nil {
		known = fields{}
	}
	maps.Copy(known, must)
	there, err = form.Read(text, known)
	for name := range must {
		if err == nil && !there[name] {
			err = fmt.Errorf("field %q is missing", name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	return there, nil
}
