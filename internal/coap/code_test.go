package coap

import (
	"testing"

	"github.com/latchkey-dev/latchkey"
)

func TestCode(t *testing.T) {
	r := NewResponse(Forbidden)
	if c, ok := CodeOf(r); ok {
		t.Errorf("a plain response carries %v", c)
	}
	r.Options = []Option{{MaxAge, []byte{1}}}
	before := r.Options
	for _, code := range []latchkey.Code{latchkey.CodeRevoked, latchkey.CodeForbidden, 255} {
		SetCode(r, code)
		if c, ok := CodeOf(r); !ok || c != code || len(r.Options) != 2 {
			t.Errorf("%v: %v %v", code, c, r.Options)
		}
	}
	SetCode(r, 0)
	if _, ok := CodeOf(r); ok || len(r.Options) != 1 || len(before) != 1 {
		t.Errorf("not removed: %v", r.Options)
	}
	for _, v := range [][]byte{nil, {}, {0}, {1, 2}} {
		r.Options = []Option{{CodeOption, v}}
		if c, ok := CodeOf(r); ok {
			t.Errorf("%x is %v", v, c)
		}
	}
	if Content.String() != "2.05" || TooManyRequests.String() != "4.29" || GET.String() != "0.01" || GatewayTimeout.Class() != 5 {
		t.Error("codes are spelled wrong")
	}
	for code := latchkey.CodeInternal; code <= latchkey.CodeRevoked; code++ {
		if class := Code(code.CoAP()).Class(); class != 4 && class != 5 {
			t.Errorf("%v is carried by %v", code, Code(code.CoAP()))
		}
	}
}
