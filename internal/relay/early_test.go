package relay

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// TestEarlyDatagrams has one side send before the other has an allocation, or
// permission to hear it.
func TestEarlyDatagrams(t *testing.T) {
	for _, allocated := range []bool{false, true} {
		t.Run(fmt.Sprintf("allocated %v", allocated), func(t *testing.T) {
			n := newNet(t, Config{})
			cg, dg, end := n.grant()
			defer end()
			c, d := n.peer("10.1.0.1:4000", cg), n.peer("10.1.0.2:4000", dg)
			c.allocate()
			if code := c.permit(cg.Peer); code != 0 {
				t.Fatalf("CreatePermission answered %d", code)
			}
			if allocated {
				d.allocate()
			}
			for i := range earlyQueue + 3 {
				c.indicate(cg.Peer, []byte{byte(i), 1, 2, 3})
			}
			eventually(t, "sent", func() bool { return n.s.Stats().Dropped > 0 || allocated })
			if !allocated {
				d.allocate()
			}
			if b := d.next(20 * time.Millisecond); b != nil {
				t.Fatalf("got %x before it was permitted", b)
			}
			if code := d.permit(dg.Peer); code != 0 {
				t.Fatalf("CreatePermission answered %d", code)
			}
			want := earlyQueue
			if allocated {
				want += 3
			}
			for i := range want {
				m := &stun.Message{Raw: d.next(10 * time.Second)}
				if err := m.Decode(); err != nil {
					t.Fatalf("datagram %d: %v", i, err)
				}
				if data, _ := m.Get(stun.AttrData); !bytes.Equal(data, []byte{byte(i), 1, 2, 3}) {
					t.Errorf("datagram %d is %x", i, data)
				}
			}
			if b := d.next(20 * time.Millisecond); b != nil {
				t.Errorf("and then %x", b)
			}
		})
	}
}
