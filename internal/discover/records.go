package discover

import (
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// response returns all records of the device on a link, nil if it has no address
// there. maxTTL 0 makes it a goodbye.
func (r *responder) response(l *link, maxTTL uint32) []byte {
	s := recordSet{maxTTL: maxTTL, flush: true}
	if !r.fill(&s, l) {
		return nil
	}
	if maxTTL > 0 { // the service type may have others
		s.add(metaName, ttlOther, false, &dnsmessage.PTRResource{PTR: dnsName(serviceName)})
	}
	return pack(dnsmessage.Message{
		Header:  dnsmessage.Header{Response: true, Authoritative: true},
		Answers: s.list,
	})
}

// fill adds pointer, service, text and address records.
func (r *responder) fill(s *recordSet, l *link) bool {
	addrs := l.addrs(r.info.Addrs)
	if len(addrs) == 0 {
		return false
	}
	host := hostName(r.info.Key)
	s.add(serviceName, ttlOther, false, &dnsmessage.PTRResource{PTR: dnsName(r.instance())})
	s.add(r.instance(), ttlHost, true, &dnsmessage.SRVResource{Port: r.info.Addrs[0].Port(), Target: dnsName(host)})
	s.add(r.instance(), ttlOther, true, &dnsmessage.TXTResource{TXT: encodeTXT(r.info)})
	for _, a := range addrs {
		s.addAddr(host, a)
	}
	return true
}

// probe asks who has the instance's name, and says who wants it (RFC 6762
// section 8.1).
func (r *responder) probe() []byte {
	s := recordSet{maxTTL: ttlOther}
	s.add(r.instance(), ttlHost, true, &dnsmessage.SRVResource{Port: r.info.Addrs[0].Port(), Target: dnsName(hostName(r.info.Key))})
	return pack(dnsmessage.Message{
		Questions:   []dnsmessage.Question{{Name: dnsName(r.instance()), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET}},
		Authorities: s.list,
	})
}

// answerLegacy answers a plain resolver directly: its question and id again, no
// cache-flush bits, short times to live (RFC 6762 section 6.7). The number of
// such answers is limited, because their receiver is only claimed.
func (r *responder) answerLegacy(now time.Time, m *message, l *link, on outlet, to netip.AddrPort, asked bool) []packet {
	if now.Sub(r.second) >= time.Second {
		r.second, r.legacy = now, 0
	}
	if r.legacy++; r.legacy > maxLegacy || len(m.questions) != 1 {
		return nil
	}
	s := recordSet{maxTTL: ttlLegacy}
	if !asked {
		s.add(metaName, ttlOther, false, &dnsmessage.PTRResource{PTR: dnsName(serviceName)})
	} else if !r.fill(&s, l) {
		return nil
	}
	b := pack(dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.id, Response: true, Authoritative: true},
		Questions: m.questions,
		Answers:   s.list,
	})
	if b == nil {
		return nil
	}
	return []packet{{b: b, on: on, to: to}}
}
