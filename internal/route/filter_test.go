package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	own := []netip.AddrPort{netip.MustParseAddrPort("192.168.1.2:5690"), netip.MustParseAddrPort("[2001:db8::2]:5690")}
	plain := filter{own: own}
	linked := filter{own: append(own, netip.MustParseAddrPort("169.254.7.7:5690"))}
	for _, c := range []struct {
		addr   string
		f      filter
		remote bool
		local  bool
	}{
		{"203.0.113.9:5690", plain, true, true},
		{"192.168.1.9:5690", plain, true, true},
		{"10.0.0.1:1024", plain, true, true},
		{"100.64.0.1:40000", plain, true, true},
		{"[2001:db8::9]:5690", plain, true, true},
		{"[fd12::9]:5690", plain, true, true},
		{"203.0.113.9:443", plain, true, true},
		{"192.168.1.2:5691", plain, true, true}, // another program on this host
		{"192.168.1.2:5690", plain, false, true},
		{"[2001:db8::2]:5690", plain, false, true},
		{"203.0.113.9:0", plain, false, false},
		{"203.0.113.9:53", plain, false, true},
		{"203.0.113.9:161", plain, false, true},
		{"203.0.113.9:1023", plain, false, true},
		{"203.0.113.9:1900", plain, false, true},
		{"203.0.113.9:5353", plain, false, true},
		{"203.0.113.9:11211", plain, false, true},
		{"127.0.0.1:5690", plain, false, false},
		{"[::1]:5690", plain, false, false},
		{"127.0.0.1:5690", filter{loopback: true}, true, true},
		{"[::1]:5690", filter{loopback: true}, true, true},
		{"0.0.0.0:5690", plain, false, false},
		{"0.1.2.3:5690", plain, false, false},
		{"[::]:5690", plain, false, false},
		{"224.0.0.251:5690", plain, false, false},
		{"[ff02::fb]:5690", plain, false, false},
		{"255.255.255.255:5690", plain, false, false},
		{"240.0.0.1:5690", plain, false, false},
		{"169.254.3.4:5690", plain, false, true},
		{"169.254.3.4:5690", linked, true, true},
		{"169.254.169.254:5690", linked, false, true},
		{"[fd00:ec2::254]:5690", plain, false, false},
		{"[fe80::1]:5690", plain, false, false},
		{"[fe80::1%eth0]:5690", plain, false, false},
		{"[::ffff:127.0.0.1]:5690", filter{loopback: true}, false, false},
		{"[::7f00:1]:5690", plain, false, false},
		{"[64:ff9b::203.0.113.9]:5690", plain, true, true},
		{"[64:ff9b::203.0.113.9]:53", plain, false, true},
		{"[64:ff9b::127.0.0.1]:5690", filter{loopback: true}, false, false},
		{"[64:ff9b::169.254.169.254]:5690", linked, false, false},
		{"[64:ff9b::169.254.3.4]:5690", linked, false, false},
		{"[64:ff9b::192.168.1.1]:5690", plain, false, false},
		{"[64:ff9b::100.64.0.1]:5690", plain, false, false},
		{"[64:ff9b::255.255.255.255]:5690", plain, false, false},
		{"[64:ff9b::224.0.0.251]:5690", plain, false, false},
		{"[64:ff9b::0.0.0.0]:5690", plain, false, false},
		{"[64:ff9b::198.18.0.1]:5690", plain, false, false},
		{"[64:ff9b::192.0.0.1]:5690", plain, false, false},
		{"[64:ff9b:1::203.0.113.9]:5690", plain, false, false},
		{"[2002:cb00:7109::1]:5690", plain, true, true}, // 203.0.113.9
		{"[2002:7f00:1::1]:5690", plain, false, false},
		{"[2002:a9fe:a9fe::1]:5690", plain, false, false},
		{"[2002:a00:1::1]:5690", plain, false, false},
		{"[2002:e000:fb::1]:5690", plain, false, false},
		{"[2001::34ff:8ef6]:5690", plain, true, true}, // 203.0.113.9
		{"[2001::80ff:fffe]:5690", plain, false, false},
		{"[::ffff:203.0.113.9]:5690", plain, false, false},
	} {
		a := netip.MustParseAddrPort(c.addr)
		if got := c.f.remote(a); got != c.remote {
			t.Errorf("remote(%v) with %d own addresses = %v", a, len(c.f.own), got)
		}
		if got := c.f.local(a); got != c.local {
			t.Errorf("local(%v) = %v", a, got)
		}
	}
	if (filter{}).remote(netip.AddrPort{}) || (filter{}).local(netip.AddrPort{}) {
		t.Error("no address passed")
	}
}

func TestParseCandidate(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{"1 1 udp 2130706431 203.0.113.9 5690 typ host", "203.0.113.9:5690"},
		{"candidate:1 1 udp 2130706431 203.0.113.9 5690 typ host", "203.0.113.9:5690"},
		{"1 1 UDP 2130706431 2001:db8::9 5690 typ host", "[2001:db8::9]:5690"},
		{"1 1 udp 1 203.0.113.9 5690 typ srflx raddr 10.0.0.1 rport 5690", "203.0.113.9:5690"},
		{"1 1 udp 1 203.0.113.9 5690 typ prflx raddr 10.0.0.1 rport 5690", "203.0.113.9:5690"},
		{"1 1 udp 1 203.0.113.9 5690 typ host generation 0 ufrag abcd", "203.0.113.9:5690"},
		{"1 1 udp 1 203.0.113.9 5690 typ relay raddr 10.0.0.1 rport 5690", ""},
		{"1 1 tcp 1 203.0.113.9 5690 typ host tcptype passive", ""},
		{"1 2 udp 1 203.0.113.9 5690 typ host", ""},
		{"1 1 udp 1 203.0.113.9 53 typ host", ""},
		{"1 1 udp 1 203.0.113.9 65536 typ host", ""},
		{"1 1 udp 1 127.0.0.1 5690 typ host", ""},
		{"1 1 udp 1 name.local 5690 typ host", ""},
		{"1 1 udp 1 name.invalid 5690 typ host", ""},
		{"1 1 udp 1 example.org 5690 typ host", ""},
		{"1 1 udp 1 fe80::1%eth0 5690 typ host", ""},
		{"1 1 udp 1 203.0.113.9 5690 typ host x " + strings.Repeat("y", 300), ""},
		{"", ""},
		{"garbage", ""},
	} {
		_, a, err := parseCandidate(c.text, filter{})
		if got := a.String(); (c.want == "") != (err != nil) || err == nil && got != c.want {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
	}
}

func FuzzParseCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 2130706431 203.0.113.9 5690 typ host generation 0")
	f.Fuzz(func(t *testing.T, s string) {
		if _, a, err := parseCandidate(s, filter{}); err == nil && !(filter{}).remote(a) {
			t.Errorf("%q gave %v", s, a)
		}
	})
}

func FuzzAttribute(f *testing.F) {
	f.Add([]byte(fmt.Sprintf("%s\x00\x06\x00\x03a:b\x00", "\x00\x01\x00\x08\x21\x12\xa4\x42............")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if isSTUN(b) {
			fragment(b)
			mappedAddress(b)
			authentic(b, "password")
		}
	})
}
