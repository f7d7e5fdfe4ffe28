package stream

import (
	"bytes"
	"testing"
)

// controls has one of each kind, and the ends of each range, in their spelling.
var controls = map[string]control{
	`{"open":"ok","credit":0}`:                {kind: controlAccept},
	`{"open":"ok","credit":262144}`:           {kind: controlAccept, credit: 262144},
	`{"open":"refused","code":4}`:             {kind: controlRefuse, code: 4},
	`{"open":"refused","code":255}`:           {kind: controlRefuse, code: 255},
	`{"credit":0}`:                            {kind: controlCredit},
	`{"credit":9007199254740991}`:             {kind: controlCredit, credit: maxOffset},
	`{"fin":true}`:                            {kind: controlFin},
	`{"reset":1}`:                             {kind: controlReset, code: 1},
	`{"open":"ok","credit":9007199254740991}`: {kind: controlAccept, credit: maxOffset},
}

var badControls = []string{
	``, `{}`, `{`, `}`, `null`, `[]`, `{"fin":false}`, `{"fin":true} `, ` {"fin":true}`, `{"fin": true}`, `{"fin":true,"fin":true}`,
	`{"fin":true1}`, `{"fin":1}`, `{"credit":}`, `{"credit":-1}`, `{"credit":+1}`, `{"credit":01}`, `{"credit":1.0}`, `{"credit":1e3}`,
	`{"credit":"1"}`, `{"credit":1 }`, `{"credit": 1}`, `{"credit":9007199254740992}`, `{"credit":18446744073709551616}`, `{"credit":1}}`,
	`{"reset":0}`, `{"reset":256}`, `{"reset":}`, `{"reset":17`, `{"open":"ok"}`, `{"open":"ok","credit":}`, `{"credit":1,"open":"ok"}`,
	`{"open":"refused","code":0}`, `{"open":"refused"}`, `{"open":"no","code":1}`, `{"Fin":true}`, "{\"fin\":true}\n", "{\"fin\":true}\x00",
	`{"credit":٣}`, `{"open":"ok","code":1}`, `{"data":"x"}`,
}

func TestControl(t *testing.T) {
	for text, want := range controls {
		got, err := parseControl([]byte(text))
		if got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if b := want.append([]byte("x")); string(b) != "x"+text {
			t.Errorf("%+v was written %s", want, b)
		}
		for i := range len(text) {
			if c, err := parseControl([]byte(text[:i])); err == nil {
				t.Errorf("prefix %q was read as %+v", text[:i], c)
			}
		}
	}
	for _, text := range badControls {
		if c, err := parseControl([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, c)
		}
	}
}

func FuzzControl(f *testing.F) {
	for text := range controls {
		f.Add([]byte(text))
	}
	for _, text := range badControls {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseControl(b); err == nil && !bytes.Equal(c.append(nil), b) {
			t.Errorf("%q was read as %+v", b, c)
		}
	})
}
