package secure

import (
	"bytes"
	"crypto/hmac"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
)

// secrets are the fields that we need of a session as the library exports it.
type secrets struct {
	LocalRandom, RemoteRandom [randomSize]byte
	MasterSecret              []byte
	SequenceNumber            uint64 // of the library's next record
	IsClient                  bool
}

// checkLabel is what both exports are compared by.
const checkLabel = "EXPORTER-latchkey-self-check"

var errExport = errors.New("secure: the DTLS library exported something unexpected")

// protect takes over the records of a session whose handshake is done: it
// derives the keys of both directions (RFC 5246 section 6.3). Whether secrets
// and roles were understood is checked against the library's own exporter.
func protect(state *dtls.State) (out, in *protection, err error) {
	exported, err := state.MarshalBinary()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errExport, err)
	}
	defer clear(exported)
	var s secrets
	if err := gob.NewDecoder(bytes.NewReader(exported)).Decode(&s); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errExport, err)
	}
	defer clear(s.MasterSecret)
	suite, ok := suiteOf(state.CipherSuiteID)
	if !ok || s.SequenceNumber > maxLibrary {
		return nil, nil, errExport
	}
	client, server := s.LocalRandom[:], s.RemoteRandom[:]
	if !s.IsClient {
		client, server = server, client
	}
	ours, err := prf.PHash(s.MasterSecret, append(append([]byte(checkLabel), client...), server...), 32, suite.hash)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errExport, err)
	}
	theirs, err := state.ExportKeyingMaterial(checkLabel, nil, len(ours))
	if err != nil || !hmac.Equal(ours, theirs) {
		return nil, nil, errExport
	}
	keys, err := prf.GenerateEncryptionKeys(s.MasterSecret, client, server, 0, suite.key, suite.iv, suite.hash)
	if err != nil {
		return nil, nil, fmt.Errorf("secure: derive keys: %w", err)
	}
	fromClient, err := suite.protection(keys.ClientWriteKey, keys.ClientWriteIV)
	if err != nil {
		return nil, nil, fmt.Errorf("secure: derive keys: %w", err)
	}
	fromServer, err := suite.protection(keys.ServerWriteKey, keys.ServerWriteIV)
	if err != nil {
		return nil, nil, fmt.Errorf("secure: derive keys: %w", err)
	}
	if s.IsClient {
		return fromClient, fromServer, nil
	}
	return fromServer, fromClient, nil
}
