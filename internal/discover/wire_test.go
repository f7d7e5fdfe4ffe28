package discover

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func packed(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	good := dnsmessage.Message{Questions: []dnsmessage.Question{question(serviceName, dnsmessage.TypePTR)}}
	status, update := good, good
	status.RCode = dnsmessage.RCodeNameError
	update.OpCode = 5
	b := packed(t, good)
	for name, b := range map[string][]byte{
		"empty":          nil,
		"header cut":     b[:11],
		"question cut":   b[:len(b)-1],
		"response code":  packed(t, status),
		"operation code": packed(t, update),
		"too long":       append(b, make([]byte, maxDatagram)...),
	} {
		if m, ok := parse(b); ok {
			t.Errorf("%s: parsed as %+v", name, m)
		}
	}
}

// A record that cannot be read, as those of services with dots in their names,
// does not hide the ones behind it.
func TestParseSkipsForeignRecords(t *testing.T) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	chaos := record("other.local.", ttlHost, address("192.0.2.8"))
	chaos.Header.Class = 3
	m.Answers = []dnsmessage.Resource{
		record("dotXed.local.", ttlHost, address("192.0.2.1")),
		record("other.local.", ttlHost, ptr("dotXed.local.")),
		record("other.local.", ttlHost, &dnsmessage.UnknownResource{Type: 47, Data: []byte{1, 2, 3}}),
		record("other.local.", ttlHost, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("x.")}),
		chaos,
	}
	m.Authorities = []dnsmessage.Resource{record("claimed.local.", ttlHost, srv("a.local.", 1))}
	m.Additionals = []dnsmessage.Resource{record("lamp.local.", ttlHost, address("192.0.2.9"))}
	b := packed(t, m)
	for i := range b {
		if b[i] == 'X' {
			b[i] = '.'
		}
	}
	got := mustParse(t, b)
	wantRecords(t, "answers", got.answers, "lamp.local. A 192.0.2.9 2m0s")
	wantRecords(t, "authorities", got.authorities, "claimed.local. SRV a.local.:1 2m0s")
}

func TestParseBounds(t *testing.T) {
	var m dnsmessage.Message
	for i := range 300 {
		m.Questions = append(m.Questions, question(fmt.Sprintf("q%d.", i), dnsmessage.TypeA))
		m.Answers = append(m.Answers, record("a.", ttlHost, address("192.0.2.9")))
		m.Additionals = append(m.Additionals, record("a.", ttlHost, address("192.0.2.9")))
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > maxDatagram {
		b = b[:maxDatagram]
	}
	got := mustParse(t, b)
	if len(got.questions) != maxQuestions || len(got.answers) != maxRecords {
		t.Errorf("%d questions and %d answers, want %d and %d", len(got.questions), len(got.answers), maxQuestions, maxRecords)
	}
	// A header that promises more than there is.
	binary.BigEndian.PutUint16(b[6:], 65535)
	if got, ok := parse(b); ok && len(got.answers) > maxRecords {
		t.Errorf("%d answers", len(got.answers))
	}
}

func TestNamesFitInAMessage(t *testing.T) {
	info := newInfo(t, strings.Repeat("ä", MaxName/2))
	l := lan()
	for i := range maxLinkAddrs {
		l.prefixes = append(l.prefixes, newLink(0, 0, fmt.Sprintf("2001:db8::%x/64", i+16)).prefixes...)
	}
	r := newTestResponder(t, info)
	r.yield(start)
	for name, b := range map[string][]byte{"response": r.response(l, ttlOther), "probe": r.probe(), "goodbye": r.response(l, 0)} {
		if len(b) == 0 || len(b) > 1400 {
			t.Errorf("%s has %d bytes, want one that fits in a frame", name, len(b))
		}
	}
}
