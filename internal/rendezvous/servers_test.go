package rendezvous

import (
	"net/netip"
	"slices"
	"testing"
)

// TestServers: a basestation names the STUN servers, and we send there what it
// likes, so it may not point us at what is no server on the internet.
func TestServers(t *testing.T) {
	remote, local := netip.MustParseAddrPort("203.0.113.5:5684"), netip.MustParseAddrPort("127.0.0.1:5684")
	low := netip.MustParseAddrPort("203.0.113.5:80")
	tests := []struct {
		name    string
		reached netip.AddrPort
		named   []string
		want    []string
	}{
		{"none", remote, nil, []string{"203.0.113.5:5684"}},
		{"another", remote, []string{"198.51.100.7:3478", "[2001:db8::1]:3478"}, []string{"198.51.100.7:3478", "[2001:db8::1]:3478"}},
		{"a name", remote, []string{"stun.example:3478"}, []string{"203.0.113.5:5684"}},
		{"our own services", remote, []string{"127.0.0.1:5353", "127.0.0.1:6379", "[::1]:3478", "0.0.0.0:3478", "[::]:3478"}, []string{"203.0.113.5:5684"}},
		{"services of the network", remote, []string{"192.168.1.1:53", "192.168.1.1:161", "239.255.255.250:1900", "192.168.1.1:1900"}, []string{"203.0.113.5:5684"}},
		{"metadata", remote, []string{"169.254.169.254:3478", "[::ffff:169.254.169.254]:3478"}, []string{"203.0.113.5:5684"}},
		{"everybody", remote, []string{"255.255.255.255:3478", "224.0.0.1:3478", "[ff02::1]:3478"}, []string{"203.0.113.5:5684"}},
		{"on one machine", local, []string{"127.0.0.1:3478"}, []string{"127.0.0.1:3478"}},
		{"through a proxy", netip.AddrPort{}, nil, nil},
		{"through a proxy, another", netip.AddrPort{}, []string{"198.51.100.7:3478", "127.0.0.1:3478"}, []string{"198.51.100.7:3478"}},
		{"where it was reached", low, []string{"203.0.113.5:80"}, []string{"203.0.113.5:80"}},
	}
	for _, tt := range tests {
		var got []string
		for _, a := range servers(tt.reached, tt.named) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
