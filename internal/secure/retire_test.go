package secure

import (
	"io"
	"testing"
	"time"
)

// retired waits until the library has no part in c any more.
func retired(t *testing.T, c *Conn) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		gone := c.association == nil
		c.mu.Unlock()
		if gone {
			return
		}
	}
	t.Fatal("the library is still there")
}

// TestRetire has the library leave a session as soon as it is not needed, and
// the session go on to a proper end.
func TestRetire(t *testing.T) {
	for _, ending := range []string{"client", "server"} {
		t.Run(ending+" ends it", func(t *testing.T) {
			c, s := pair(t, anyone(t), anyone(t))
			retired(t, c.Conn)
			s.mu.Lock()
			early := s.association == nil
			s.mu.Unlock()
			if early {
				t.Error("the server would not repeat its last flight, which the client may have missed")
			}
			mustTalk(t, c, s)
			retired(t, s.Conn)
			for range 3 {
				mustTalk(t, s, c)
				mustTalk(t, c, s)
			}
			if _, err := s.Export("EXPORTER-test", 16); err != nil {
				t.Error(err)
			}
			first, second := c, s
			if ending == "server" {
				first, second = s, c
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			if err := ends(t, second); err != io.EOF {
				t.Errorf("the other end heard %v, want EOF", err)
			}
		})
	}
}
