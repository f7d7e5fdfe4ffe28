package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/internal/cli"
)

// formats are the content formats that have a short name (RFC 7252 section
// 12.3, RFC 8949).
var formats = map[string]client.Format{
	"text": 0, "link": 40, "xml": 41, "octets": 42, "json": 50, "cbor": 60,
}

func parseFormat(s string) (client.Format, error) {
	if f, ok := formats[s]; ok {
		return f, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return client.NoFormat, cli.Usage("%q is no content format: text, link, xml, octets, json, cbor or a number up to 65535", s)
	}
	return client.Format(n), nil
}

// An answer is a CoAP response in JSON. A body that is not text is in base64.
type answer struct {
	Code   string          `json:"code"`
	Format *client.Format  `json:"format,omitempty"`
	Text   *string         `json:"text,omitempty"`
	JSON   json.RawMessage `json:"json,omitempty"`
	Bytes  []byte          `json:"bytes,omitempty"`
}

func describe(r *client.Response) answer {
	a := answer{Code: r.Code.String()}
	if r.Format != client.NoFormat {
		a.Format = &r.Format
	}
	switch {
	case r.Format == client.FormatJSON && json.Valid(r.Body):
		a.JSON = r.Body
	case utf8.Valid(r.Body):
		text := string(r.Body)
		a.Text = &text
	default:
		a.Bytes = r.Body
	}
	return a
}

// printAnswer writes the body as it came; a terminal gets it readable and whole
// lines.
func (p *program) printAnswer(r *client.Response) error {
	if p.JSON {
		return p.PrintJSON(describe(r))
	}
	if !p.OutTerminal() {
		_, err := p.Out.Write(r.Body)
		return err
	}
	return p.printState(r)
}

// printState writes the body on lines of its own.
func (p *program) printState(r *client.Response) error {
	if p.JSON {
		return p.PrintJSON(describe(r))
	}
	text := string(r.Body)
	if strings.ContainsFunc(text, unprintable) {
		text = hex.Dump(r.Body)
	}
	if len(r.Body) == 0 && p.OutTerminal() {
		text = r.Code.String()
	}
	_, err := fmt.Fprintln(p.Out, strings.TrimSuffix(text, "\n"))
	return err
}

// unprintable reports what could upset a terminal.
func unprintable(r rune) bool {
	return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f || r >= 0x80 && r < 0xa0
}
