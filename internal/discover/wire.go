package discover

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxDatagram  = 9000 // RFC 6762 section 17
	maxQuestions = 64
	maxRecords   = 256

	// flagCacheFlush says that a record replaces all others of its name and type
	// (RFC 6762 section 10.2). In questions the bit asks for a unicast answer.
	flagCacheFlush = 1 << 15

	// Times to live in seconds (RFC 6762 section 10).
	ttlHost   = 120  // records that name a host or its addresses
	ttlOther  = 4500 // all others
	ttlLegacy = 10   // at most, to resolvers that know no multicast DNS (section 6.7)
)

// A message is what we look at in a datagram.
type message struct {
	id          uint16
	response    bool
	questions   []dnsmessage.Question
	answers     []dnsmessage.Resource // and additional records
	authorities []dnsmessage.Resource // what a prober is about to claim (RFC 6762 section 8.2)
}

// parse reads a datagram. It drops records of other types, those that are not
// well-formed, and everything beyond the limits. It reports false for what must
// be ignored whole (RFC 6762 sections 18.3 and 18.11) and for garbage.
func parse(b []byte) (m message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil || h.OpCode != 0 || h.RCode != 0 || len(b) > maxDatagram {
		return m, false
	}
	m.id, m.response = h.ID, h.Response
	for range maxQuestions {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return m, false
		}
		m.questions = append(m.questions, q)
	}
	if p.SkipAllQuestions() != nil {
		return m, false
	}
	left := maxRecords
	m.answers = section(&p, m.answers, &left, p.AnswerHeader, p.SkipAnswer)
	m.authorities = section(&p, m.authorities, &left, p.AuthorityHeader, p.SkipAuthority)
	m.answers = section(&p, m.answers, &left, p.AdditionalHeader, p.SkipAdditional)
	return m, true
}

// section appends the records of one section to list. left counts down what may
// still be looked at.
func section(p *dnsmessage.Parser, list []dnsmessage.Resource, left *int,
	header func() (dnsmessage.ResourceHeader, error), skip func() error,
) []dnsmessage.Resource {
	for ; *left > 0; *left-- {
		h, err := header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return list
		}
		if err == nil {
			if r, ok := body(p, h); ok {
				list = append(list, r)
				continue
			}
		}
		if skip() != nil {
			*left = 0 // cannot find the next one
		}
	}
	return list
}

// body reads the record that h belongs to if it is of a type that matters.
func body(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) (r dnsmessage.Resource, ok bool) {
	if h.Class&^flagCacheFlush != dnsmessage.ClassINET {
		return r, false
	}
	var err error
	r.Header = h
	switch h.Type {
	case dnsmessage.TypePTR:
		var b dnsmessage.PTRResource
		b, err = p.PTRResource()
		r.Body = &b
	case dnsmessage.TypeSRV:
		var b dnsmessage.SRVResource
		b, err = p.SRVResource()
		r.Body = &b
	case dnsmessage.TypeTXT:
		var b dnsmessage.TXTResource
		b, err = p.TXTResource()
		r.Body = &b
	case dnsmessage.TypeA:
		var b dnsmessage.AResource
		b, err = p.AResource()
		r.Body = &b
	case dnsmessage.TypeAAAA:
		var b dnsmessage.AAAAResource
		b, err = p.AAAAResource()
		r.Body = &b
	default:
		return r, false
	}
	return r, err == nil
}

// fold returns a name as maps use it: DNS compares without regard to case.
func fold(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

// ttl returns a record's time to live, at most a day: longer is not meant
// seriously.
func ttl(h dnsmessage.ResourceHeader) time.Duration {
	return min(time.Duration(h.TTL)*time.Second, 24*time.Hour)
}

// A recordSet collects records, all of class IN.
type recordSet struct {
	list   []dnsmessage.Resource
	maxTTL uint32 // caps all; 0 makes a goodbye (RFC 6762 section 10.1)
	flush  bool   // mark the records that are ours alone
}

func (s *recordSet) add(name string, seconds uint32, unique bool, body dnsmessage.ResourceBody) {
	h := dnsmessage.ResourceHeader{Name: dnsName(name), Class: dnsmessage.ClassINET, TTL: min(seconds, s.maxTTL)}
	if unique && s.flush {
		h.Class |= flagCacheFlush
	}
	s.list = append(s.list, dnsmessage.Resource{Header: h, Body: body})
}

func (s *recordSet) addAddr(name string, a netip.Addr) {
	if a.Is4() {
		s.add(name, ttlHost, true, &dnsmessage.AResource{A: a.As4()})
	} else {
		s.add(name, ttlHost, true, &dnsmessage.AAAAResource{AAAA: a.As16()})
	}
}

// dnsName makes a dnsmessage.Name of a text that is known to be short enough.
func dnsName(s string) dnsmessage.Name {
	n, err := dnsmessage.NewName(s)
	if err != nil {
		return dnsmessage.Name{}
	}
	return n
}

// pack returns the datagram, nil if it cannot be made.
func pack(m dnsmessage.Message) []byte {
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
