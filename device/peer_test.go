package device

import (
	"errors"
	"fmt"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/session"
)

func TestEnding(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, "reason=closed"},
		{session.ErrEnded, "reason=ended by the peer"},
		{session.ErrSilent, "reason=silence"},
		{fmt.Errorf("stop: %w", latchkey.ErrShutdown), "reason=shutdown"},
		{latchkey.ErrRevoked, "reason=access was revoked"},
		{errors.New("record of an unknown epoch"), "err=record of an unknown epoch"},
	} {
		key, why := ending(test.err)
		if got := fmt.Sprint(key, "=", why); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
}
