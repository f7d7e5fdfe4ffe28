package admin

import (
	"net/netip"
	"slices"
	"strings"
)

// ListenText is :PORT for the wildcards of one port, otherwise the addresses.
func ListenText(addrs []netip.AddrPort) string {
	var texts []string
	for _, addr := range addrs {
		text := addr.String()
		if addr.Addr().IsUnspecified() {
			text = text[strings.LastIndexByte(text, ':'):]
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, ", ")
}
