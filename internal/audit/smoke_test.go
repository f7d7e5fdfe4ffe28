package audit

import (
	"testing"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	id, _ := latchkey.NewIdentity()
	var a acl.Anchor
	c := Config{Dir: dir, Identity: id, Anchor: func() acl.Anchor { return a }, SetAnchor: func(n acl.Anchor) error { a = n; return nil }}
	for range 3 {
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		l.Record(acl.Event{Kind: acl.EventUser, Outcome: acl.OutcomeOK, Object: "bob\n\x1b[1m\"x\\"})
		l.Record(acl.Event{Kind: acl.EventAccess, Outcome: acl.OutcomeRefused, Object: "/x"})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Verify(dir, id.Public(), a)
	t.Logf("%+v %v", r, err)
	if err != nil {
		t.Error(err)
	}
	for r, err := range Read(dir, Filter{}) {
		t.Logf("%+v %v", r, err)
	}
}
