package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/pion/dtls/v3"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	nonceSize = 12
	// explicitSize is the part of an AES-GCM nonce that travels in the record
	// (RFC 5288 section 3).
	explicitSize = 8
	// epochOne is the epoch of a session's records, where it stands before
	// their 48-bit numbers.
	epochOne = 1 << 48
)

// A suite says how a cipher suite protects records.
type suite struct {
	key, iv  int // bytes of key material
	explicit int // bytes of the nonce that travel in the record
	hash     func() hash.Hash
	aead     func(key []byte) (cipher.AEAD, error)
}

// suiteOf knows the suites that a handshake may choose.
func suiteOf(id dtls.CipherSuiteID) (suite, bool) {
	switch id {
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
		return suite{16, 4, explicitSize, sha256.New, newGCM}, true
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
		return suite{32, 4, explicitSize, sha512.New384, newGCM}, true
	case dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return suite{32, nonceSize, 0, sha256.New, chacha20poly1305.New}, true
	}
	return suite{}, false
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// A protection seals or opens the records that one side sends (RFC 5246 section
// 6.2.3.3). It has no state; its methods may be called concurrently.
type protection struct {
	aead     cipher.AEAD
	iv       [nonceSize]byte
	explicit int
}

func (s suite) protection(key, iv []byte) (*protection, error) {
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	p := &protection{aead: aead, explicit: s.explicit}
	copy(p.iv[:], iv)
	return p, nil
}

// A scratch is the memory that one record needs while it is sealed or opened.
type scratch struct {
	nonce [nonceSize]byte
	about [headerSize]byte // what the tag covers beside the payload
	out   [maxRecord]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// prepare fills in nonce and additional data for a payload of size bytes.
func (p *protection) prepare(x *scratch, kind byte, number uint64, explicit []byte, size int) {
	x.nonce = p.iv
	variable := x.nonce[nonceSize-8:]
	if p.explicit > 0 {
		copy(variable, explicit)
	} else { // RFC 7905 section 2
		binary.BigEndian.PutUint64(variable, binary.BigEndian.Uint64(variable)^number)
	}
	about := binary.BigEndian.AppendUint64(x.about[:0], number)
	about = append(about, kind, 254, 253)
	binary.BigEndian.AppendUint16(about, uint16(size))
}

// seal makes a record of at most maxRecord bytes, in x. The number must not
// have been used before: it is the nonce.
func (p *protection) seal(x *scratch, kind byte, number uint64, payload []byte) []byte {
	number |= epochOne
	b := append(x.out[:0], kind, 254, 253)
	b = binary.BigEndian.AppendUint64(b, number)
	b = binary.BigEndian.AppendUint16(b, uint16(p.explicit+len(payload)+tagSize))
	if p.explicit > 0 {
		b = binary.BigEndian.AppendUint64(b, number)
	}
	p.prepare(x, kind, number, b[headerSize:], len(payload))
	return p.aead.Seal(b, x.nonce[:], payload, x.about[:])
}

// open decrypts a record into x. It reports false if the record is not genuine.
func (p *protection) open(x *scratch, r record) (payload []byte, ok bool) {
	body := r.body()
	if len(body) < p.explicit+tagSize {
		return nil, false
	}
	sealed := body[p.explicit:]
	p.prepare(x, r.kind, epochOne|r.sequence(), body, len(sealed)-tagSize)
	payload, err := p.aead.Open(x.out[:0], x.nonce[:], sealed, x.about[:])
	return payload, err == nil
}
