package cli

import (
	"bytes"
	"strings"
	"testing"

	"rsc.io/qr"
)

// TestWriteQR reads the drawing back, module by module.
func TestWriteQR(t *testing.T) {
	const text = "latchkey://local/0123456789abcdef0123?k=00"
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := WriteQR(&out, text, false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if want := (code.Size + 2*quietZone + 1) / 2; len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	for i, line := range lines {
		for x, r := range []rune(line) {
			for half, light := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				y := 2*i + half - quietZone
				if y < code.Size+quietZone && light == code.Black(x-quietZone, y) {
					t.Fatalf("module %d,%d is drawn wrong", x-quietZone, y)
				}
			}
		}
	}
}

func TestWriteQRTooLong(t *testing.T) {
	if err := WriteQR(&bytes.Buffer{}, strings.Repeat("x", 4000), false); err == nil {
		t.Error("a text that fits no code was drawn")
	}
}
