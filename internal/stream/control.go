package stream

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/latchkey-dev/latchkey"
)

// maxOffset is the largest credit: the largest integer that every JSON parser
// holds exactly (RFC 8259 section 6).
const maxOffset = 1<<53 - 1

// A controlKind tells the control messages apart.
type controlKind uint8

const (
	controlAccept controlKind = iota // the open is accepted, credit follows
	controlRefuse                    // the open is refused, code follows
	controlCredit                    // the peer may send up to this offset
	controlFin                       // no payload follows
	controlReset                     // both directions end, code follows
)

// A control is one text message on a tunnel (docs/protocol.md section 6.2).
type control struct {
	kind   controlKind
	credit int64         // of accept and credit: absolute offset, 0 to maxOffset
	code   latchkey.Code // of refuse and reset: not 0
}

// Each kind has exactly one spelling: these words, a number without leading
// zeros where the last byte is a colon, and a closing brace.
var controlForms = [...]string{
	controlAccept: `{"open":"ok","credit":`,
	controlRefuse: `{"open":"refused","code":`,
	controlCredit: `{"credit":`,
	controlFin:    `{"fin":true`,
	controlReset:  `{"reset":`,
}

var errControl = errors.New("stream: malformed control message")

// append writes the one spelling of c.
func (c control) append(b []byte) []byte {
	b = append(b, controlForms[c.kind]...)
	switch c.kind {
	case controlAccept, controlCredit:
		b = strconv.AppendInt(b, c.credit, 10)
	case controlRefuse, controlReset:
		b = strconv.AppendUint(b, uint64(c.code), 10)
	case controlFin:
	}
	return append(b, '}')
}

// parseControl accepts what append writes and nothing else.
func parseControl(b []byte) (control, error) {
	for kind, form := range controlForms {
		rest, ok := bytes.CutPrefix(b, []byte(form))
		if !ok {
			continue
		}
		digits, ok := bytes.CutSuffix(rest, []byte("}"))
		if !ok {
			return control{}, errControl
		}
		return parseControlNumber(controlKind(kind), digits)
	}
	return control{}, errControl
}

func parseControlNumber(kind controlKind, digits []byte) (control, error) {
	c := control{kind: kind}
	switch kind {
	case controlAccept, controlCredit:
		n, ok := parseDecimal(digits, maxOffset)
		c.credit = n
		if !ok {
			return control{}, errControl
		}
	case controlRefuse, controlReset:
		n, ok := parseDecimal(digits, 255)
		c.code = latchkey.Code(n)
		if !ok || n == 0 {
			return control{}, errControl
		}
	case controlFin:
		if len(digits) != 0 {
			return control{}, errControl
		}
	}
	return c, nil
}

// parseDecimal reads the canonical decimal form of a number from 0 to limit.
func parseDecimal(b []byte, limit int64) (int64, bool) {
	if len(b) == 0 || len(b) > 16 || (b[0] == '0' && len(b) > 1) {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= limit
}
