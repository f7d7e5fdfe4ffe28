package pake

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
)

// ConfirmSize is the length in bytes of a confirmation.
const ConfirmSize = sha256.Size

// ErrMismatch reports a confirmation that does not fit: the other side means
// another password, or is in another exchange.
var ErrMismatch = errors.New("pake: the other side does not know the password, or is in another exchange")

// ErrReflected reports a share that came back as it was sent.
var ErrReflected = errors.New("pake: the share is our own")

// A Prover is one exchange of the side that knows the password.
type Prover struct {
	secret  *Secret
	context string
	x       [scalarSize]byte
	share   []byte
}

// Start begins an exchange. Context is all that both sides have to agree on.
func (s *Secret) Start(context string) (*Prover, error) { return s.start(context, newScalar()) }

func (s *Secret) start(context string, x [scalarSize]byte) (*Prover, error) {
	share, err := encode(add(timesBase(x), times(s.w0, pointM)))
	return &Prover{s, context, x, share}, err
}

// Share is the first message, for the verifier.
func (p *Prover) Share() []byte { return p.share }

// Finish reads the verifier's answer. Unless it returns an error the verifier
// knows the password, and the result is the last message, for the verifier.
func (p *Prover) Finish(share, confirm []byte) ([]byte, error) {
	y, err := parsePoint(share)
	if err != nil {
		return nil, err
	}
	if string(share) == string(p.share) {
		return nil, ErrReflected
	}
	q := add(y, times(p.secret.w0, minusN))
	keys, err := p.secret.transcript(p.context, p.share, share).finish(times(p.x, q), times(p.secret.w1, q), p.secret.w0)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(confirm, keys.confirmV(p.share)) {
		return nil, ErrMismatch
	}
	return keys.confirmP(share), nil
}

// A Response is one exchange of the verifier.
type Response struct {
	share, confirm []byte
	want           []byte
}

// Respond answers a prover's share. It returns an error if that is no point that
// an exchange can go on with; then nothing was said about the password. The
// answer lets the prover test one guess.
func (v *Verifier) Respond(context string, share []byte) (*Response, error) {
	return v.respond(context, share, newScalar())
}

func (v *Verifier) respond(context string, share []byte, y [scalarSize]byte) (*Response, error) {
	x, err := parsePoint(share)
	if err != nil {
		return nil, err
	}
	own, err := encode(add(timesBase(y), times(v.w0, pointN)))
	if err != nil {
		return nil, err
	}
	z := times(y, add(x, times(v.w0, minusM)))
	keys, err := v.params.transcript(context, share, own).finish(z, times(y, v.l), v.w0)
	if err != nil {
		return nil, err
	}
	return &Response{share: own, confirm: keys.confirmV(share), want: keys.confirmP(own)}, nil
}

// Share is the first half of the verifier's message.
func (r *Response) Share() []byte { return r.share }

// Confirm is the second half: it shows that the verifier knows the password's
// verifier.
func (r *Response) Confirm() []byte { return r.confirm }

// Check reads the prover's confirmation: nil, or ErrMismatch.
func (r *Response) Check(confirm []byte) error {
	if !hmac.Equal(confirm, r.want) {
		return ErrMismatch
	}
	return nil
}

// A transcript is TT of RFC 9383 section 3.3.
type transcript []byte

func (s *Secret) transcript(context string, shareP, shareV []byte) transcript {
	return s.params.transcript(context, shareP, shareV)
}

func (p Params) transcript(context string, shareP, shareV []byte) transcript {
	var t transcript
	for _, part := range []string{context, p.Prover, p.Verifier} {
		t = appendPart(t, part)
	}
	for _, part := range [][]byte{pointM.Bytes(), pointN.Bytes(), shareP, shareV} {
		t = appendPart(t, part)
	}
	return t
}

// keys are those that confirm.
type keys struct{ main, prover, verifier []byte }

// finish appends what only the two sides know, and derives the keys (RFC 9383
// section 3.4).
func (t transcript) finish(z, v *point, w0 [scalarSize]byte) (*keys, error) {
	for _, secret := range []*point{z, v} {
		b, err := encode(secret)
		if err != nil {
			return nil, err
		}
		t = appendPart(t, b)
	}
	t = appendPart(t, w0[:])
	main := sha256.Sum256(t)
	both, err := hkdf.Key(sha256.New, main[:], nil, "ConfirmationKeys", 2*ConfirmSize)
	if err != nil {
		return nil, err
	}
	return &keys{main[:], both[:ConfirmSize], both[ConfirmSize:]}, nil
}

func (k *keys) confirmP(shareV []byte) []byte { return mac(k.prover, shareV) }
func (k *keys) confirmV(shareP []byte) []byte { return mac(k.verifier, shareP) }

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
