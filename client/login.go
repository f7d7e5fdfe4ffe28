package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

const (
	pathToken = "token"
	formatJWT = 0 // text/plain (RFC 7252 section 12.3)

	// loginTime bounds getting a token and bringing it.
	loginTime = 30 * time.Second
	// refreshLeast and refreshBlind are the pauses before a fresh token when the
	// present one is about to end, and when it has ended by our clock.
	refreshLeast = 250 * time.Millisecond
	refreshBlind = 30 * time.Second
)

// A login is a token that the device has accepted in this session.
type login struct {
	token   string
	expires time.Time // zero: the device did not say
	subject string    // whom it names
	role    string    // what that is on the device
}

// login brings the token of DialOptions.Login, if there is one, and a fresh one
// whenever three quarters of its life are over, until the session ends.
func (l *link) login(ctx context.Context) error {
	if l.options.Login == nil {
		return nil
	}
	brought, err := l.bring(ctx, "")
	if err != nil {
		return err
	}
	l.loggedIn = brought
	l.start(func() { l.refresh(brought) }) // ends with the session
	return nil
}

func (l *link) refresh(present login) {
	ctx := l.session.Context()
	for !present.expires.IsZero() {
		wait(ctx, refreshAfter(time.Until(present.expires)))
		if ctx.Err() != nil {
			return
		}
		fresh, err := l.bring(ctx, present.token)
		if err == nil {
			present = fresh
		} else if ctx.Err() == nil {
			l.client.logger().Warn("no fresh token", "device", l.device.Alias, "code", latchkey.CodeOf(err), "err", err)
		}
	}
}

// refreshAfter is the pause before a fresh token is asked for, when the present
// one has so much time left.
func refreshAfter(left time.Duration) time.Duration {
	if left <= 0 {
		return refreshBlind
	}
	return max(left*3/4, refreshLeast)
}

// bring asks for a token and brings it, unless it is the one that the device has
// already.
func (l *link) bring(ctx context.Context, present string) (login, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	token, err := l.options.Login(ctx)
	switch {
	case err != nil:
		return login{}, fmt.Errorf("login: %w", err)
	case token == "":
		return login{}, errors.New("login: there is no token")
	case token == present:
		return login{}, errors.New("login: the token is still the one that is about to expire")
	}
	r := coap.NewRequest(coap.POST, pathToken)
	r.Format, r.Body = formatJWT, []byte(token)
	answer, err := l.session.CoAP().Do(ctx, r)
	if err != nil {
		return login{}, fmt.Errorf("login: %w", l.explain(err))
	}
	if answer.Code.Class() != 2 {
		return login{}, refusal("login", l.device.Key, answer)
	}
	var said struct {
		Expires       time.Time
		Subject, Role string
	}
	if err := json.Unmarshal(answer.Body, &said); err != nil {
		return login{}, fmt.Errorf("login: %w: %w", latchkey.ErrProtocol, err)
	}
	return login{token, said.Expires, said.Subject, said.Role}, nil
}
