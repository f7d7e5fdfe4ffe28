package signal

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/latchkey-dev/latchkey"
)

// Who makes an Offer.
const (
	RoleClient byte = 'c'
	RoleDevice byte = 'd'
)

// offerDomain begins what is signed, so that the signature means nothing
// anywhere else.
const offerDomain = "latchkey offer 1\x00"

// An Offer is one side of an introduction. Its signature covers everything but
// the candidates.
type Offer struct {
	Session     SessionID         `cbor:"1,keyasint"`
	Device      latchkey.DeviceID `cbor:"2,keyasint"`
	Role        byte              `cbor:"3,keyasint"`
	Resume      []byte            `cbor:"4,keyasint,omitempty"` // 16 bytes that name a running session; none: a new one
	Key         []byte            `cbor:"5,keyasint"`           // SubjectPublicKeyInfo of the signer, DER
	Certificate Sum               `cbor:"6,keyasint"`           // of the certificate in the signer's handshakes
	Ufrag       string            `cbor:"7,keyasint"`           // ICE credentials, RFC 8839 section 5.4
	Pwd         string            `cbor:"8,keyasint"`
	Candidates  []string          `cbor:"9,keyasint,omitempty"` // hints, not signed
	Signature   []byte            `cbor:"10,keyasint"`          // ECDSA over SHA-256, ASN.1
}

// Valid reports what is wrong with the form of the offer. It does not look at
// key or signature: Verify does.
func (o *Offer) Valid() error {
	return first(validSession(o.Session), validID(o.Device), validCandidates(o.Candidates),
		must(o.Role == RoleClient || o.Role == RoleDevice, "role"),
		must(len(o.Resume) == 0 || len(o.Resume) == resumeSize, "id of a running session"),
		must(len(o.Key) == keySize, "key"),
		must(o.Certificate != Sum{}, "hash of the certificate"),
		must(iceText(o.Ufrag, minUfrag) && iceText(o.Pwd, minPwd), "ICE credentials"),
		must(len(o.Signature) > 0 && len(o.Signature) <= maxSignature, "signature"))
}

// iceText reports whether s is at least n ice-chars (RFC 8839 section 5.4).
func iceText(s string, n int) bool {
	const chars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return len(s) >= n && len(s) <= maxIce && strings.Trim(s, chars) == ""
}

// digest is the hash of all signed fields, each after its length.
func (o *Offer) digest() []byte {
	b := []byte(offerDomain)
	for _, field := range [][]byte{
		o.Session[:], []byte(o.Device.String()), {o.Role}, o.Resume, o.Key, o.Certificate[:], []byte(o.Ufrag), []byte(o.Pwd),
	} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// Sign fills in Key, Certificate and Signature.
func (o *Offer) Sign(id *latchkey.Identity) error {
	key, err := x509.MarshalPKIXPublicKey(id.Public())
	if err != nil {
		return fmt.Errorf("sign an offer: %w", err)
	}
	o.Key, o.Certificate = key, sha256.Sum256(id.Certificate())
	if o.Signature, err = id.Sign(rand.Reader, o.digest(), crypto.SHA256); err != nil {
		return fmt.Errorf("sign an offer: %w", err)
	}
	return nil
}

// Verify checks that the offer is what the caller takes it for and returns the
// key that signed it. Whether that is the right key is for the caller to say.
// The error matches latchkey.ErrProtocol.
func (o *Offer) Verify(role byte, session SessionID, device latchkey.DeviceID) (latchkey.Fingerprint, error) {
	if err := first(o.Valid(), must(o.Role == role && o.Session == session && o.Device == device,
		"offer is for something else")); err != nil {
		return latchkey.Fingerprint{}, err
	}
	public, err := x509.ParsePKIXPublicKey(o.Key)
	if err != nil {
		return latchkey.Fingerprint{}, invalid("key of an offer")
	}
	signer, err := latchkey.FingerprintOf(public)
	if err != nil {
		return latchkey.Fingerprint{}, invalid("key of an offer")
	}
	if canonical, err := x509.MarshalPKIXPublicKey(public); err != nil || !bytes.Equal(canonical, o.Key) {
		return latchkey.Fingerprint{}, invalid("key of an offer is not canonical")
	}
	if !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), o.digest(), o.Signature) { // FingerprintOf knows the type
		return latchkey.Fingerprint{}, invalid("signature of an offer")
	}
	return signer, nil
}
