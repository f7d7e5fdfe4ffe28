package secure

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
)

// Alert descriptions (RFC 5246 section 7.2.2, RFC 7301 section 3.2).
const (
	alertCloseNotify           = 0
	alertNoCertificate         = 41
	alertBadCertificate        = 42
	alertUnsupported           = 43
	alertRevoked               = 44
	alertExpired               = 45
	alertCertificateUnknown    = 46
	alertUnknownCA             = 48
	alertAccessDenied          = 49
	alertProtocolVersion       = 70
	alertInsufficientSecurity  = 71
	alertUserCanceled          = 90
	alertNoApplicationProtocol = 120

	alertWarning = 1
	alertFatal   = 2
)

// peerAlert returns the description of the alert with which the peer ended a
// handshake.
func peerAlert(err error) (byte, bool) {
	var alert interface {
		error
		IsFatalOrCloseNotify() bool
		Marshal() ([]byte, error)
	}
	if !errors.As(err, &alert) {
		return 0, false
	}
	b, err := alert.Marshal()
	if err != nil || len(b) != 2 {
		return 0, false
	}
	return b[1], true
}

// explain turns the library's reason for a failed handshake into ours.
func (h *Handshake) explain(ctx context.Context, l *link, err error) error {
	if refusal := h.refusal(); refusal != nil {
		return fmt.Errorf("secure: peer is refused: %w", refusal)
	}
	if description, ok := peerAlert(err); ok {
		h.cfg.Log.Debug("peer ended the handshake", "code", description)
		return alertError(description)
	}
	if cause := context.Cause(ctx); cause != nil {
		if sendErr := l.lastSendErr(); sendErr != nil {
			return fmt.Errorf("secure: handshake: %w; sending failed: %w", cause, sendErr)
		}
		return fmt.Errorf("secure: handshake: %w", cause)
	}
	return fmt.Errorf("secure: %w", err)
}

func alertError(description byte) error {
	switch description {
	case alertNoCertificate, alertBadCertificate, alertUnsupported, alertRevoked, alertExpired,
		alertCertificateUnknown, alertUnknownCA, alertAccessDenied:
		return fmt.Errorf("secure: %w", latchkey.ErrHandshakeRefused)
	case alertNoApplicationProtocol:
		return fmt.Errorf("secure: handshake: %w", ErrNoProtocol)
	case alertProtocolVersion:
		return errors.New("secure: peer does not speak DTLS 1.2")
	case alertInsufficientSecurity:
		return errors.New("secure: peer shares no cipher suite, curve or extended master secret with us")
	case alertUserCanceled:
		return errRestart
	}
	return fmt.Errorf("secure: peer ended the handshake with alert %d", description)
}

// errRestart reports a server that is busy with strangers and, now that our
// address is proved, wants the handshake once more from its beginning.
var errRestart = errors.New("secure: peer is busy")
