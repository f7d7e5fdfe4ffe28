package basestation

import (
	"context"
	"errors"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

// introduce brings the client's offer to the device, and the device's to the
// client. What client and dev grant goes along with it.
func (s *station) introduce(l *leg, in *introduction, device Attachment, offer signal.Offer, client, dev *signal.Grant) {
	ctx, cancel := context.WithTimeout(l.ctx, 2*callTime)
	defer cancel()
	defer context.AfterFunc(in.ctx, cancel)()
	answer, err := s.ask(ctx, in, device, offer, dev)
	if err != nil {
		s.fail(l, in, err)
		return
	}
	in.toDevice.open()
	s.flush(in, &in.toDevice)
	s.count.introduced.Add(1)
	s.events.add(Event{
		Kind: EventIntroduced, Device: in.device, Key: in.client, Source: l.source, OtherKey: device.Key(),
	})
	err = s.tell(in, signal.PathAnswer, &signal.Answer{Session: in.session, Offer: answer, Relay: client})
	var refused *latchkey.RemoteError
	switch {
	case errors.As(err, &refused):
		s.introductions.end(in)
		return
	case err != nil: // it may have the answer, and comes back or does not: see linger
		s.log.Debug("client did not confirm an answer", "op", "answer", "peer", l.key, "err", err)
	}
	in.toClient.open()
	s.flush(in, &in.toClient)
}

// ask gets the device's offer.
func (s *station) ask(ctx context.Context, in *introduction, device Attachment, offer signal.Offer, grant *signal.Grant) (*signal.Offer, error) {
	body, err := signal.Marshal(&signal.Introduce{
		Session: in.session, Client: in.client, Offer: offer, Relay: grant, Servers: s.srv.PublicAddrs,
	})
	if err != nil {
		return nil, err
	}
	answer, err := device.Call(ctx, signal.PathIntroduce, body)
	if err != nil {
		var refused *latchkey.RemoteError
		if !errors.As(err, &refused) { // it did not answer
			err = errors.Join(latchkey.ErrOffline, err)
		}
		return nil, err
	}
	var m signal.Introduced
	if err := signal.Unmarshal(answer, &m); err != nil {
		return nil, err
	}
	signer, err := m.Offer.Verify(signal.RoleDevice, in.session, in.device)
	switch {
	case err != nil:
		return nil, err
	case signer != device.Key():
		return nil, latchkey.ErrProtocol
	}
	return &m.Offer, nil
}

// fail ends an introduction and tells the client why.
func (s *station) fail(l *leg, in *introduction, cause error) {
	s.introductions.end(in)
	s.count.notIntroduced.Add(1)
	s.events.refuse(Event{
		Kind: EventNotIntroduced, Device: in.device, Key: in.client, Source: l.source, Reason: reasonOf(cause),
	})
	m := &signal.Answer{Session: in.session, Code: latchkey.CodeOf(cause)}
	if err := send(l.ctx, l, signal.PathAnswer, m); err != nil {
		s.log.Debug("client did not take an answer", "op", "answer", "peer", l.key, "err", err)
	}
}
