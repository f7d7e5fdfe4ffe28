package pairing_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/pairing"
)

func TestStatusChoose(t *testing.T) {
	all := []string{"local-initial", "local-open", "password-open", "invite"}
	none, password, invite := pairing.Have{}, pairing.Have{Password: true}, pairing.Have{Invite: true}
	for _, tt := range []struct {
		modes []string
		local bool
		have  pairing.Have
		want  pairing.Modes
	}{
		{all, true, none, pairing.LocalInitial},
		{all, true, password, pairing.LocalInitial},
		{all, true, invite, pairing.Invite},
		{all, false, invite, pairing.Invite},
		{all, false, pairing.Have{Password: true, Invite: true}, pairing.Invite},
		{all, false, password, pairing.PasswordOpen},
		{all[1:], true, none, pairing.LocalOpen},
		{all[1:], true, password, pairing.PasswordOpen},
		{all[1:2], true, password, pairing.LocalOpen},
		{[]string{"from-the-future", "local-open"}, true, none, pairing.LocalOpen},
	} {
		got, err := pairing.Status{Modes: tt.modes, Local: tt.local}.Choose(tt.have)
		if err != nil || got != tt.want {
			t.Errorf("%q, local %v, %+v: Choose = %v, %v; want %v", tt.modes, tt.local, tt.have, got, err, tt.want)
		}
	}
	if got, err := (pairing.Status{Paired: true}).Choose(none); err != nil || len(got.Names()) != 1 {
		t.Errorf("paired: Choose = %v, %v", got, err)
	}
}

func TestStatusChooseMisses(t *testing.T) {
	for _, tt := range []struct {
		modes []string
		local bool
		have  pairing.Have
		want  pairing.MissingError // without Offered
		is    error
		says  string
	}{
		{says: "not open", is: latchkey.ErrPairingClosed},
		{modes: []string{"from-the-future"}, local: true, says: "from-the-future", is: latchkey.ErrPairingClosed},
		{modes: []string{"local-initial"}, want: pairing.MissingError{Local: true}, says: "own network", is: latchkey.ErrNotLocal},
		{modes: []string{"password-open"}, want: pairing.MissingError{Password: true}, says: "password", is: latchkey.ErrPairingClosed},
		{
			modes: []string{"password-open", "local-open", "invite"}, want: pairing.MissingError{Password: true, Local: true, Invite: true},
			says: "the device's password, or an invitation, or a connection", is: latchkey.ErrPairingClosed,
		},
		// An invitation that is used up is no reason to become somebody else.
		{modes: []string{"local-initial"}, local: true, have: pairing.Have{Invite: true}, says: "local-initial", is: latchkey.ErrPairingClosed},
	} {
		got, err := pairing.Status{Modes: tt.modes, Local: tt.local}.Choose(tt.have)
		var missing *pairing.MissingError
		if !errors.As(err, &missing) || !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || got != 0 {
			t.Errorf("%q, %+v: Choose = %v, %v; want %v saying %q", tt.modes, tt.have, got, err, tt.is, tt.says)
			continue
		}
		tt.want.Offered = tt.modes
		if !reflect.DeepEqual(*missing, tt.want) {
			t.Errorf("%q, %+v: missing %+v, want %+v", tt.modes, tt.have, *missing, tt.want)
		}
	}
}
