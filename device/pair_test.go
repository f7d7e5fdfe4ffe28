package device

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// A logPage is a log to read.
type logPage struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *logPage) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *logPage) count(s string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.text.String(), s)
}

// TestRefusedPairingsCount: steps that are refused count as refusals, and one line of
// the log says so.
func TestRefusedPairingsCount(t *testing.T) {
	var page logPage
	o := newOffice(t, func(d *Device, _ *acl.Store) {
		d.Limits.Refusals = 10
		d.Logger = slog.New(slog.NewTextHandler(&page, nil))
	})
	o.must(o.as("olga"), POST, "/invites/bob", `{}`) // so that there is something to guess at
	conn := o.as("")
	var err error
	for n := 0; n < 12 && !errors.Is(err, latchkey.ErrAbuse); n++ {
		if _, err = o.do(conn, POST, "/pairing/invite", `{"invite":"AAAAAAAAAAAAAAAAAAAAAA"}`); n < 9 && !errors.Is(err, latchkey.ErrPairingClosed) {
			t.Fatalf("number %d: %v", n+1, err)
		}
	}
	if err := o.gone(conn); !errors.Is(err, latchkey.ErrAbuse) {
		t.Errorf("the session ended with %v", err)
	}
	if n := page.count("pairing refused"); n != 1 {
		t.Errorf("%d lines of the log", n)
	}
}
