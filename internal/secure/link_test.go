package secure

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

// genuine is a record that a session takes, as far as a filter can see.
func genuine(sequence uint64, size int) []byte {
	return forge(typeApplicationData, 1, sequence, make([]byte, size))
}

func openLink() *link {
	l := newLink(true, func([]byte) error { return nil })
	l.enter(open)
	return l
}

// take returns what waits for the library and for the session.
func take(t testing.TB, l *link) (library, session []byte) {
	t.Helper()
	b := make([]byte, maxRecord)
	for !l.queue.empty() {
		n, _, err := l.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		library = append(library, b[:n]...)
	}
	for !l.payload.empty() {
		c := l.payload.pop()
		session = append(session, c.data[:c.size]...)
		chunks.Put(c)
	}
	return library, session
}

func TestLinkJoinsDatagrams(t *testing.T) {
	l := openLink()
	var want []byte
	for i := range uint64(5) {
		r := genuine(i, 1000)
		want = append(want, r...)
		l.deliver(slices.Concat(forge(99, 0, i, []byte{1}), r, []byte{1, 2, 3}), packet.Meta{})
	}
	c := l.payload.pop()
	if !bytes.Equal(c.data[:c.size], want) {
		t.Errorf("got %d bytes, want %d", c.size, len(want))
	}
}

func TestLinkQueueIsBounded(t *testing.T) {
	l := openLink()
	const size = 1000
	for i := range uint64(10000) {
		l.deliver(genuine(i, size), packet.Meta{})
	}
	_, all := take(t, l)
	for i, r := range records(all) {
		if r.sequence() != uint64(i) {
			t.Fatalf("record %d is number %d: not the oldest are kept, in order", i, r.sequence())
		}
	}
	if len(all) > maxQueue*maxRecord || len(all) < maxQueue*maxRecord*8/10 {
		t.Errorf("%d bytes were queued", len(all))
	}
	l.deliver(genuine(20000, size), packet.Meta{})
	if _, last := take(t, l); len(last) != headerSize+size {
		t.Errorf("after it was full: %d bytes", len(last))
	}
}

func TestLinkDeadlineAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(false, func([]byte) error { return nil })
		l.enter(open)
		b := make([]byte, maxRecord)
		result := make(chan error, 1)
		read := func() {
			_, _, err := l.ReadFrom(b)
			result <- err
		}
		go read()
		synctest.Wait()
		_ = l.SetReadDeadline(time.Unix(1, 0))
		if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		_ = l.SetReadDeadline(time.Time{})
		go read()
		synctest.Wait()
		l.deliver(forge(typeHandshake, 1, 1, make([]byte, 40)), packet.Meta{})
		if err := <-result; err != nil {
			t.Errorf("after the deadline: %v", err)
		}
		go read()
		synctest.Wait()
		_ = l.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
		l.deliver(genuine(2, 100), packet.Meta{})
		if _, err := l.WriteTo(b, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
		if !l.queue.empty() || !l.payload.empty() {
			t.Error("a closed link queues")
		}
	})
}

func TestLinkAllocatesNothing(t *testing.T) {
	l := openLink()
	r := genuine(1, 1150)
	if n := testing.AllocsPerRun(1000, func() {
		l.deliver(r, packet.Meta{})
		chunks.Put(l.payload.pop())
	}); n > 0.1 { // the pool may be emptied under way
		t.Errorf("%v allocations", n)
	}
}

// TestPhases is the filter as a table: which plain and protected records are
// let in when.
func TestPhases(t *testing.T) {
	tag := make([]byte, tagSize)
	tests := []struct {
		name string
		data []byte
		want string // of g(reeting), s(haking), o(pen client), O(pen server)
	}{
		{"hello", forge(typeHandshake, 0, 0, []byte{1}), "gs"},
		{"plain alert", forge(typeAlert, 0, 0, []byte{2, 40}), "gs"},
		{"long plain alert", forge(typeAlert, 0, 0, []byte{2, 40, 0}), ""},
		{"change cipher spec", forge(typeChangeCipherSpec, 0, 0, []byte{1}), "s"},
		{"odd change cipher spec", forge(typeChangeCipherSpec, 0, 0, []byte{2}), ""},
		{"long change cipher spec", forge(typeChangeCipherSpec, 0, 0, []byte{1, 1}), ""},
		{"protected change cipher spec", forge(typeChangeCipherSpec, 1, 0, tag), ""},
		{"plain data", forge(typeApplicationData, 0, 0, tag), ""},
		{"data", forge(typeApplicationData, 1, 0, tag), "soO"},
		{"data without a whole tag", forge(typeApplicationData, 1, 0, tag[1:]), ""},
		{"data of the next epoch", forge(typeApplicationData, 2, 0, tag), ""},
		{"alert", forge(typeAlert, 1, 0, tag), "soO"},
		{"Finished", forge(typeHandshake, 1, 0, make([]byte, 48)), "sO"},
		{"long handshake message", forge(typeHandshake, 1, 0, make([]byte, 200)), "s"},
		{"largest", forge(typeApplicationData, 1, 0, make([]byte, maxRecord-headerSize)), "soO"},
		{"too large", forge(typeApplicationData, 1, 0, make([]byte, maxRecord-headerSize+1)), ""},
		{"connection id", forge(25, 1, 0, tag), ""},
		{"heartbeat", forge(24, 1, 0, tag), ""},
		{"acknowledgement", forge(26, 1, 0, tag), ""},
		{"DTLS 1.3 unified header", append([]byte{0x2f}, tag...), ""},
	}
	for _, tt := range tests {
		r, _, ok := nextRecord(tt.data)
		for _, p := range []struct {
			letter string
			phase  phase
			client bool
		}{{"g", greeting, false}, {"s", shaking, true}, {"s", shaking, false}, {"o", open, true}, {"O", open, false}} {
			want := bytes.Contains([]byte(tt.want), []byte(p.letter))
			if got := ok && p.phase.admits(r, p.client); got != want {
				t.Errorf("%s in phase %s, client %v: %v", tt.name, p.letter, p.client, got)
			}
		}
	}
	for _, version := range [][2]byte{{254, 254}, {3, 3}, {254, 252}, {0, 0}, {3, 253}, {255, 255}} {
		for _, kind := range []byte{typeHandshake, typeApplicationData} {
			for epoch := range uint16(2) {
				b := forge(kind, epoch, 0, tag)
				b[1], b[2] = version[0], version[1]
				r, _, _ := nextRecord(b)
				if shaking.admits(r, false) || open.admits(r, false) {
					t.Errorf("version %v was let in", version)
				}
			}
		}
	}
}

// FuzzLink delivers anything in any phase. What comes out are whole records
// that the phase admits, in order, and nothing else.
func FuzzLink(f *testing.F) {
	for _, s := range shapes() {
		f.Add(s.data, uint8(0), false)
		f.Add(append(slices.Clone(s.data), genuine(1, 30)...), uint8(2), true)
	}
	f.Add(slices.Concat(genuine(1, 16), genuine(2, 17), []byte{23, 254}), uint8(2), false)
	f.Fuzz(func(t *testing.T, data []byte, p uint8, client bool) {
		l := newLink(client, nil)
		l.enter(phase(p % 3))
		l.deliver(data, packet.Meta{})
		var library, session [][]byte
		for _, r := range records(data) {
			switch {
			case !l.phase.admits(r, client):
			case r.kind == typeApplicationData || r.kind == typeAlert && l.phase == open:
				session = append(session, r.raw)
			default:
				library = append(library, r.raw)
			}
		}
		gotLibrary, gotSession := take(t, l)
		if len(data) > helloQueue*maxRecord/2 {
			return // some of it may have found no room
		}
		if want := slices.Concat(library...); !bytes.Equal(gotLibrary, want) {
			t.Errorf("the library gets %x, want %x", gotLibrary, want)
		}
		if want := slices.Concat(session...); !bytes.Equal(gotSession, want) {
			t.Errorf("the session gets %x, want %x", gotSession, want)
		}
	})
}
