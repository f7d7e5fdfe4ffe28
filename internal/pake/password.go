package pake

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

const (
	// SaltSize is the length in bytes of the salts that NewParams draws.
	SaltSize = 16
	// halfSize is how many bytes each of w0 and w1 is reduced from: 64 bits more
	// than the order has (RFC 9383 section 3.2).
	halfSize = 40
	// maxText bounds ids and the salt in bytes.
	maxText = 255
)

// Costs are what argon2id (RFC 9106) takes for one password.
type Costs struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// Limits of costs. Whoever proves a password is told the costs by the other
// side, whom it does not trust yet; these keep it from being worn out.
const (
	MaxTime    = 8
	MaxMemory  = 64 << 10 // KiB
	MaxThreads = 4
)

// DefaultCosts are for new passwords: 19 MiB, two passes, one thread; some 50 ms
// on a small machine.
func DefaultCosts() Costs { return Costs{Time: 2, Memory: 19 << 10, Threads: 1} }

// Check returns an error for costs that argon2id does not have or that are above
// the limits.
func (c Costs) Check() error {
	if c.Time < 1 || c.Time > MaxTime || c.Threads < 1 || c.Threads > MaxThreads ||
		c.Memory < 8*uint32(c.Threads) || c.Memory > MaxMemory {
		return fmt.Errorf("pake: argon2id with %d passes over %d KiB in %d threads is not possible here", c.Time, c.Memory, c.Threads)
	}
	return nil
}

// Params are what a prover needs to know, beside the password, to derive the
// same secrets. None of it is secret.
type Params struct {
	Costs    Costs
	Salt     []byte // 8 to 255 bytes
	Prover   string // id of the prover (idProver); at most 255 bytes, as is
	Verifier string // that of the verifier (idVerifier)
}

// NewParams draws a salt.
func NewParams(c Costs, prover, verifier string) Params {
	salt := make([]byte, SaltSize)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	return Params{Costs: c, Salt: salt, Prover: prover, Verifier: verifier}
}

func (p Params) check() error {
	if err := p.Costs.Check(); err != nil {
		return err
	}
	if len(p.Salt) < 8 || len(p.Salt) > maxText || len(p.Prover) > maxText || len(p.Verifier) > maxText {
		return errors.New("pake: the salt has 8 to 255 bytes, and ids have at most 255")
	}
	return nil
}

// A Secret is what a prover derives from a password: w0 and w1 of RFC 9383.
type Secret struct {
	params Params
	w0, w1 [scalarSize]byte
}

// Derive runs argon2id.
func Derive(password string, p Params) (*Secret, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	var in []byte
	for _, part := range []string{password, p.Prover, p.Verifier} {
		in = appendPart(in, part)
	}
	w := argon2.IDKey(in, p.Salt, p.Costs.Time, p.Costs.Memory, p.Costs.Threads, 2*halfSize)
	return &Secret{p, reduce(w[:halfSize]), reduce(w[halfSize:])}, nil
}

// appendPart appends a part and before it its length in 8 bytes, the least
// significant first, as RFC 9383 writes all that it hashes.
func appendPart[T string | []byte](b []byte, part T) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
	return append(b, part...)
}

// A Verifier is what the verifier keeps of a password. Whoever gets hold of it
// can guess the password at leisure, and can pass for the verifier, but not for
// the prover.
type Verifier struct {
	params Params
	w0     [scalarSize]byte
	l      *point
}

// NewVerifier runs argon2id.
func NewVerifier(password string, p Params) (*Verifier, error) {
	s, err := Derive(password, p)
	if err != nil {
		return nil, err
	}
	return s.verifier(), nil
}

func (s *Secret) verifier() *Verifier { return &Verifier{s.params, s.w0, timesBase(s.w1)} }

// Params returns what the prover needs to know.
func (v *Verifier) Params() Params { return v.params }

// verifierForm is the first byte of a verifier's encoding.
const verifierForm = 1

// Encode returns v as bytes, to be kept as carefully as a hash of the password:
// form 1 | passes 1 | KiB 4 | threads 1 | then each behind its length in one
// byte, salt, prover and verifier | w0 32 | L 65.
func (v *Verifier) Encode() ([]byte, error) {
	l, err := encode(v.l)
	if err != nil {
		return nil, err
	}
	c := v.params.Costs
	b := []byte{verifierForm, byte(c.Time)}
	b = binary.BigEndian.AppendUint32(b, c.Memory)
	b = append(b, c.Threads)
	for _, part := range []string{string(v.params.Salt), v.params.Prover, v.params.Verifier} {
		b = append(append(b, byte(len(part))), part...)
	}
	return append(append(b, v.w0[:]...), l...), nil
}

var errForm = errors.New("pake: not a verifier of this form")

// ParseVerifier reads what Encode wrote.
func ParseVerifier(b []byte) (*Verifier, error) {
	if len(b) < 7 || b[0] != verifierForm {
		return nil, errForm
	}
	v := &Verifier{params: Params{Costs: Costs{
		Time: uint32(b[1]), Memory: binary.BigEndian.Uint32(b[2:]), Threads: b[6],
	}}}
	b = b[7:]
	var parts [3]string
	for i := range parts {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, errForm
		}
		n := 1 + int(b[0])
		parts[i], b = string(b[1:n]), b[n:]
	}
	v.params.Salt, v.params.Prover, v.params.Verifier = []byte(parts[0]), parts[1], parts[2]
	if err := v.params.check(); err != nil {
		return nil, err
	}
	if len(b) != scalarSize+ShareSize || reduce(b[:scalarSize]) != [scalarSize]byte(b[:scalarSize]) {
		return nil, errForm
	}
	v.w0 = [scalarSize]byte(b)
	var err error
	v.l, err = parsePoint(b[scalarSize:])
	return v, err
}
