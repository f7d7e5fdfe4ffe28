package coap

import "github.com/latchkey-dev/latchkey"

// CodeOption is the number of the elective option Latchkey-Code, which carries
// a latchkey.Code in one byte on error responses.
const CodeOption uint16 = 65000

// SetCode makes r carry code. Code 0 removes it.
func SetCode(r *Response, code latchkey.Code) {
	kept := make([]Option, 0, len(r.Options)+1)
	for _, o := range r.Options {
		if o.Number != CodeOption {
			kept = append(kept, o)
		}
	}
	if code != 0 {
		kept = append(kept, Option{CodeOption, []byte{byte(code)}})
	}
	r.Options = kept
}

// CodeOf returns the code that r carries. A value that is not one byte long,
// or 0, is none.
func CodeOf(r *Response) (latchkey.Code, bool) {
	v, ok := r.Option(CodeOption)
	if !ok || len(v) != 1 || v[0] == 0 {
		return 0, false
	}
	return latchkey.Code(v[0]), true
}
