package cli

import (
	"bufio"
	"io"

	"rsc.io/qr"
)

// quietZone is the light border of a QR code in modules (ISO/IEC 18004: 4).
const quietZone = 4

// WriteQR draws text as a QR code, two modules per character. On a terminal
// the colours are set explicitly, so that it scans on dark and light themes.
func WriteQR(w io.Writer, text string, terminal bool) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	begin, end := "", "\n"
	if terminal {
		begin, end = "\x1b[97;40m", "\x1b[0m\n" // bright white on black
	}
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		out.WriteString(begin)
		for x := -quietZone; x < code.Size+quietZone; x++ {
			out.WriteRune(halfBlock(!code.Black(x, y), !code.Black(x, y+1) && y+1 < code.Size+quietZone))
		}
		out.WriteString(end)
	}
	return out.Flush()
}

// halfBlock returns the character whose lit halves are the light modules.
func halfBlock(top, bottom bool) rune {
	switch {
	case top && bottom:
		return '█'
	case top:
		return '▀'
	case bottom:
		return '▄'
	}
	return ' '
}
