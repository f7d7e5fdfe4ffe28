package secure

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/packet"
)

// TestAlerts answers a client's hello with every fatal alert there can be.
func TestAlerts(t *testing.T) {
	refusals := map[byte]bool{41: true, 42: true, 43: true, 44: true, 45: true, 46: true, 48: true, 49: true}
	cfg := anyone(t)
	for description := range 256 {
		d := byte(description)
		synctest.Test(t, func(t *testing.T) {
			var h *Handshake
			sent := 0
			h = NewClient(cfg, func([]byte) error {
				h.Deliver(forge(typeAlert, 0, uint64(sent), []byte{alertFatal, d}), packet.Meta{})
				sent++
				return nil
			})
			_, err := h.Run(t.Context())
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("alert %d: %v", d, err)
			}
			if got := errors.Is(err, latchkey.ErrHandshakeRefused); got != refusals[d] {
				t.Errorf("alert %d is a refusal of our key: %v", d, got)
			}
			if got := errors.Is(err, ErrNoProtocol); got != (d == alertNoApplicationProtocol) {
				t.Errorf("alert %d is about the protocol: %v", d, got)
			}
			want := 1
			switch d {
			case alertUserCanceled:
				want = 1 + maxRestarts
			case 0: // close_notify is answered
				want = 2
			}
			if sent != want {
				t.Errorf("alert %d: the client spoke %d times, not %d", d, sent, want)
			}
		})
	}
}

func TestPeerAlert(t *testing.T) {
	for _, err := range []error{nil, io.EOF, latchkey.ErrHandshakeRefused} {
		if d, ok := peerAlert(err); ok {
			t.Errorf("%v holds alert %d", err, d)
		}
	}
}
