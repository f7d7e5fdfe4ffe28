package secure

import (
	"crypto/cipher"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// A shape is one kind of datagram that an attacker who knows both addresses
// can send.
type shape struct {
	name string
	data []byte
}

// shapes returns the 266 forged records: content types that exist and that do
// not, in epochs before, of and after the session, with bodies that mean
// something and that do not; and each handshake message in epoch 0.
func shapes() (all []shape) {
	const sequence = 1 << 20 // later than all that was sent
	for _, kind := range []byte{0, 19, 20, 21, 22, 23, 24, 25, 26, 27, 64, 255} {
		for _, epoch := range []uint16{0, 1, 2, 65535} {
			for _, body := range [][]byte{{}, {1}, {2, 40}, make([]byte, 12), make([]byte, 40)} {
				all = append(all, shape{
					fmt.Sprintf("type %d, epoch %d, %d bytes", kind, epoch, len(body)),
					forge(kind, epoch, sequence, body),
				})
			}
		}
	}
	for message := range byte(26) {
		body := make([]byte, handshakeHeader)
		body[0] = message
		all = append(all, shape{fmt.Sprintf("handshake message %d", message), forge(typeHandshake, 0, sequence, body)})
	}
	return all
}

func TestShapes(t *testing.T) {
	if n := len(shapes()); n != 266 {
		t.Errorf("%d shapes, not 266", n)
	}
}

// A theatre is an established session whose datagrams a test can mix with
// forged ones.
type theatre struct {
	*duo
	c, s *session
}

func newTheatre(t *testing.T, client, server Config) *theatre {
	d := newDuo(client, server)
	c, s := d.sessions(t)
	mustTalk(t, c, s)
	return &theatre{d, c, s}
}

// victim returns the end that the forged datagrams hit, and its peer.
func (x *theatre) victim(server bool) (victim, peer *session) {
	if server {
		return x.s, x.c
	}
	return x.c, x.s
}

func (x *theatre) alive(t *testing.T) error {
	t.Helper()
	for _, way := range []struct{ from, to *session }{{x.c, x.s}, {x.s, x.c}} {
		if err := talk(t, way.from, way.to, "still here?"); err != nil {
			return err
		}
	}
	return nil
}

// TestForgedRecords injects each shape into each side of a fresh session. It
// counts lost sessions; none may be.
func TestForgedRecords(t *testing.T) {
	client, server := anyone(t), anyone(t)
	lost, cases := 0, 0
	for _, atServer := range []bool{false, true} {
		for _, shape := range shapes() {
			x := newTheatre(t, client, server)
			victim, _ := x.victim(atServer)
			victim.Deliver(shape.data, packet.Meta{})
			cases++
			if err := x.alive(t); err != nil {
				lost++
				t.Errorf("server %v: %s: %v", atServer, shape.name, err)
			}
			_ = x.c.Close()
		}
	}
	t.Logf("%d of %d sessions lost", lost, cases)
	if cases != 532 {
		t.Errorf("%d cases, not 532", cases)
	}
}

// TestForgedBesideGenuine puts each shape before, and then behind, a genuine
// record in one datagram. The genuine one arrives all the same.
func TestForgedBesideGenuine(t *testing.T) {
	client, server := anyone(t), anyone(t)
	for _, atServer := range []bool{false, true} {
		x := newTheatre(t, client, server)
		victim, peer := x.victim(atServer)
		for _, shape := range shapes() {
			for _, first := range []bool{true, false} {
				mix := func(b []byte) [][]byte {
					if first {
						return [][]byte{append(append([]byte(nil), shape.data...), b...)}
					}
					return [][]byte{append(append([]byte(nil), b...), shape.data...)}
				}
				if atServer {
					x.set(mix, nil)
				} else {
					x.set(nil, mix)
				}
				if err := talk(t, peer, victim, "genuine"); err != nil {
					t.Fatalf("server %v, first %v: %s: %v", atServer, first, shape.name, err)
				}
				x.set(nil, nil)
				if err := x.alive(t); err != nil {
					t.Fatalf("server %v, first %v: %s: %v", atServer, first, shape.name, err)
				}
			}
		}
	}
}

// TestForgedFloods sends what costs memory or counts in the library, many
// times over: fragments of messages to come, of the greatest size.
func TestForgedFloods(t *testing.T) {
	client, server := anyone(t), anyone(t)
	for _, atServer := range []bool{false, true} {
		x := newTheatre(t, client, server)
		victim, _ := x.victim(atServer)
		for i := range 3000 {
			body := make([]byte, 4000)
			body[0], body[1], body[2], body[3] = helloClient, 1, 0, 0 // 64 KiB in all
			body[4], body[5] = byte(i>>8), byte(i)                    // message number
			body[10], body[11] = byte((len(body)-handshakeHeader)>>8), byte(len(body)-handshakeHeader)
			for _, epoch := range []uint16{0, 1} {
				victim.Deliver(forge(typeHandshake, epoch, uint64(i)<<30, body), packet.Meta{})
			}
		}
		if err := x.alive(t); err != nil {
			t.Errorf("server %v: %v", atServer, err)
		}
	}
}

// gullible takes every tag for genuine.
type gullible struct{ cipher.AEAD }

func (g gullible) Open(dst, _, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[:len(sealed)-tagSize]...), nil
}

// TestTagsAreNeeded believes forged records, so that the table is known to
// find what it looks for.
func TestTagsAreNeeded(t *testing.T) {
	client, server := anyone(t), anyone(t)
	lost := 0
	for _, shape := range shapes() {
		synctest.Test(t, func(t *testing.T) {
			x := newTheatre(t, client, server)
			x.s.in.aead = gullible{x.s.in.aead}
			x.s.Deliver(shape.data, packet.Meta{})
			synctest.Wait()
			if len(x.s.got) > 0 || len(x.s.done) > 0 {
				lost++
			}
			_, _ = x.s.Close(), x.c.Close()
		})
	}
	if lost == 0 {
		t.Error("the table of forged records finds nothing")
	}
}
