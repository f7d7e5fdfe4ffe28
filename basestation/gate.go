package basestation

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/bearer"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/relay"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// Issuer is somebody whose JWTs open the gate: what they must say, and where the
// keys are that sign them.
type Issuer = bearer.Issuer

// RelayLimits bound what relayed sessions take.
type RelayLimits = relay.Limits

const (
	// A refusal takes a whole multiple of refusalTime, so that its time tells
	// nothing about what was looked up.
	refusalTime = 25 * time.Millisecond
	// A peer with this many refusals is disconnected.
	maxRefusals = 20
	// Refusals that one prefix of sources may cause. Beyond that, who is refused is
	// disconnected at once, and JWTs are not looked at. Connect tokens are: a valid
	// one costs a look-up, and is no worse for its neighbours.
	failureEvery = 100 * time.Millisecond
	failureBurst = 200
)

// errGate says the one thing that a client without a valid token is told.
var errGate = fmt.Errorf("basestation: the gate is closed: %w", latchkey.ErrForbidden)

// admit decides whether the client may be introduced to the device. Its error is
// for the log. It looks at tokens alone: that the device is away only spares the
// client a use of its token.
func (s *station) admit(ctx context.Context, m *signal.Connect, l *leg, away bool, now time.Time) error {
	if m.JWT == "" {
		token, err := latchkey.ParseConnectToken(m.SCT)
		if err != nil {
			return err
		}
		redeem := s.registry.Redeem
		if away && !m.Wait {
			redeem = s.registry.Check
		}
		return redeem(m.ID, token.Hash(), l.key, now)
	}
	key, err := x509.ParsePKIXPublicKey(m.Offer.Key) // whose fingerprint is l.key
	if err != nil {
		return err
	}
	client := bearer.Client{Certificate: l.certificate}
	client.Key, _ = key.(*ecdsa.PublicKey) // Offer.Verify takes no other
	claims, err := s.bearer.Load().Validate(ctx, m.JWT, client, now)
	switch {
	case err != nil:
		return err
	case !claims.Allows(m.ID):
		return fmt.Errorf("the token is for other devices: %w", latchkey.ErrForbidden)
	}
	return nil
}

// turnAway answers a client that the gate did not let through: always the same,
// and never sooner than the slowest look-up in memory takes.
func (s *station) turnAway(ctx context.Context, l *leg, m *signal.Connect, started time.Time, cause error) (*coap.Response, error) {
	s.count.refused.Add(1)
	s.events.refuse(Event{Kind: EventGateRefused, Device: m.ID, Key: l.key, Source: l.source, Reason: reasonOf(cause)})
	tolerable := s.failures.allow(prefixOf(l.source.Addr()), time.Now())
	spent := time.Since(started)
	timer := time.NewTimer(spent.Truncate(refusalTime) + refusalTime - spent)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if l.refusals.Add(1) >= maxRefusals || !tolerable {
		l.End(latchkey.CodeTooMany)
	}
	return nil, errGate
}
