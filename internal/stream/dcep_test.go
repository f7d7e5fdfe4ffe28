package stream

import (
	"bytes"
	"strings"
	"testing"
)

// The example is what a browser sends for createDataChannel("ssh", {protocol:
// "latchkey-tunnel/1"}), field by field as in RFC 8832 section 5.1.
var tunnelOpen = []byte("\x03\x00\x01\x00\x00\x00\x00\x00\x00\x03\x00\x11ssh" + protocolTunnel)

func TestDCEPOpen(t *testing.T) {
	want := dcepOpenMessage{channelType: channelReliable, priority: 256, label: "ssh", protocol: protocolTunnel}
	if got := want.append(nil); !bytes.Equal(got, tunnelOpen) {
		t.Errorf("written %q", got)
	}
	if got, err := parseDCEPOpen(tunnelOpen); got != want || err != nil {
		t.Errorf("read %+v, %v", got, err)
	}
	for i := range tunnelOpen {
		if _, err := parseDCEPOpen(tunnelOpen[:i]); err == nil {
			t.Errorf("a prefix of %d bytes was read", i)
		}
	}
	for name, b := range map[string][]byte{
		"longer than it says": append(bytes.Clone(tunnelOpen), 0),
		"another type":        append([]byte{dcepAck}, tunnelOpen[1:]...),
		"too long":            dcepOpenMessage{label: strings.Repeat("x", 600)}.append(nil),
	} {
		if _, err := parseDCEPOpen(b); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
	if !isDCEPAck([]byte{2}) || isDCEPAck([]byte{2, 0}) || isDCEPAck([]byte{3}) || isDCEPAck(nil) {
		t.Error("acknowledgement")
	}
}

func FuzzDCEPOpen(f *testing.F) {
	f.Add(tunnelOpen)
	f.Add(dcepOpenMessage{channelType: channelUnorderedRexmit, label: "0", protocol: protocolDatagram}.append(nil))
	f.Add(dcepOpenMessage{}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseDCEPOpen(b); err == nil && !bytes.Equal(m.append(nil), b) {
			t.Errorf("%q was read as %+v", b, m)
		}
	})
}
