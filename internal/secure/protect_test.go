package secure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/latchkey-dev/latchkey/internal/packet"
)

var suites = []dtls.CipherSuiteID{
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// withLibrary makes a session in which the other side is the DTLS library,
// records included.
func withLibrary(t *testing.T, suite dtls.CipherSuiteID, client bool) (*session, *dtls.Conn) {
	t.Helper()
	var h *Handshake
	w := newWire(func(b []byte) { h.Deliver(b, packet.Meta{}) })
	send := func(b []byte) error { w.put(b); return nil }
	options := stranger(dtls.WithCipherSuites(suite), dtls.WithCertificates(newIdentity(t).TLSCertificate()))
	var foreign *dtls.Conn
	var err error
	if client {
		h = NewClient(anyone(t), send)
		opts := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
		for _, o := range options {
			opts = append(opts, o)
		}
		foreign, err = dtls.ServerWithOptions(w, linkAddr{}, opts...)
	} else {
		h = NewServer(anyone(t), send)
		var opts []dtls.ClientOption
		for _, o := range options {
			opts = append(opts, o)
		}
		foreign, err = dtls.ClientWithOptions(w, linkAddr{}, opts...)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = foreign.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- foreign.HandshakeContext(ctx) }()
	conn, err := h.Run(ctx)
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return serve(t, conn), foreign
}

// A wire is the socket of a stranger: what is put is read, and what is written
// is sent.
type wire struct {
	send func([]byte)

	mu      sync.Mutex
	changed sync.Cond
	queue   [][]byte
	expired bool
	closed  bool
}

func newWire(send func([]byte)) *wire {
	w := &wire{send: send}
	w.changed.L = &w.mu
	return w
}

func (w *wire) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

func (w *wire) put(b []byte) {
	w.change(func() { w.queue = append(w.queue, slices.Clone(b)) })
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && !w.expired && !w.closed {
		w.changed.Wait()
	}
	switch {
	case w.closed:
		return 0, nil, net.ErrClosed
	case w.expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
	n := copy(b, w.queue[0])
	w.queue = w.queue[1:]
	return n, linkAddr{}, nil
}

func (w *wire) WriteTo(b []byte, _ net.Addr) (int, error) {
	w.send(b)
	return len(b), nil
}

func (w *wire) SetReadDeadline(t time.Time) error {
	w.change(func() { w.expired = !t.IsZero() })
	return nil
}

func (w *wire) Close() error {
	w.change(func() { w.closed = true })
	return nil
}

func (w *wire) SetDeadline(t time.Time) error    { return w.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) LocalAddr() net.Addr              { return linkAddr{} }

// TestRecordsOfTheLibrary exchanges records with an implementation that is not
// ours, in every suite and role.
func TestRecordsOfTheLibrary(t *testing.T) {
	for _, suite := range suites {
		for _, client := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v client %v", suite, client), func(t *testing.T) {
				ours, foreign := withLibrary(t, suite, client)
				_ = foreign.SetReadDeadline(time.Now().Add(patience))
				b := make([]byte, maxRecord)
				for _, size := range []int{1, 15, 16, 17, 1150, 4000} {
					text := bytes.Repeat([]byte{byte(size)}, size)
					if _, err := ours.Write(text); err != nil {
						t.Fatal(err)
					}
					if n, err := foreign.Read(b); err != nil || !bytes.Equal(b[:n], text) {
						t.Fatalf("%d bytes to the library: %d, %v", size, n, err)
					}
					if _, err := foreign.Write(text); err != nil {
						t.Fatal(err)
					}
					select {
					case got := <-ours.got:
						if got != string(text) {
							t.Fatalf("%d bytes from the library came as %d", size, len(got))
						}
					case <-time.After(patience):
						t.Fatalf("%d bytes from the library are lost", size)
					}
				}
				if client { // each side says goodbye in one of the roles
					_ = foreign.Close()
					if err := ends(t, ours); err != io.EOF {
						t.Errorf("Serve returned %v", err)
					}
					return
				}
				_ = ours.Close()
				if _, err := foreign.Read(b); !errors.Is(err, io.EOF) {
					t.Errorf("the library read %v", err)
				}
			})
		}
	}
}

// sealed is a record of some protection, and the protection.
func sealed(t testing.TB, id dtls.CipherSuiteID, payload []byte) (*protection, []byte) {
	t.Helper()
	s, ok := suiteOf(id)
	if !ok {
		t.Fatalf("no suite %v", id)
	}
	p, err := s.protection(make([]byte, s.key), []byte("0123456789ab")[:s.iv])
	if err != nil {
		t.Fatal(err)
	}
	return p, slices.Clone(p.seal(new(scratch), typeApplicationData, 77, payload))
}

// TestEachBitCounts flips every bit of a record.
func TestEachBitCounts(t *testing.T) {
	for _, suite := range suites {
		text := []byte("text")
		p, whole := sealed(t, suite, text)
		x := new(scratch)
		r, _, _ := nextRecord(slices.Clone(whole))
		if got, ok := p.open(x, r); !ok || !bytes.Equal(got, text) {
			t.Fatalf("%v: not opened", suite)
		}
		for bit := range 8 * len(whole) {
			b := slices.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			r, _, ok := nextRecord(b)
			if !ok || !open.admits(r, true) {
				continue
			}
			if _, ok := p.open(x, r); ok {
				t.Errorf("%v: bit %d may be flipped", suite, bit)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	for i, suite := range suites {
		_, whole := sealed(f, suite, []byte("text"))
		f.Add(uint8(i), whole)
		f.Add(uint8(i), whole[:len(whole)-1])
	}
	f.Add(uint8(0), forge(typeApplicationData, 1, 0, nil))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		p, whole := sealed(t, suites[int(which)%len(suites)], []byte("text"))
		genuine := bytes.HasPrefix(data, whole)
		r, _, ok := nextRecord(slices.Clone(data))
		if !ok || r.major != 254 || r.minor != 253 || r.epoch != 1 {
			return
		}
		if _, ok := p.open(new(scratch), r); ok != genuine {
			t.Errorf("opened %x: %v", data, ok)
		}
	})
}

// TestNumbersAreUsedOnce has the library repeat its last flight in a session
// that is already in use.
func TestNumbersAreUsedOnce(t *testing.T) {
	client, server := anyone(t), anyone(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDuo(client, server)
		seen := make(map[uint64]int)
		lose := 3 // of the server's last flights
		d.set(nil, func(b []byte) [][]byte {
			lost := false
			for _, r := range records(b) {
				if r.epoch == 1 {
					seen[r.sequence()]++
					lost = lost || r.kind == typeHandshake && lose > 0
				}
			}
			if lost {
				lose--
				return nil
			}
			return [][]byte{b}
		})
		served := make(chan *Conn)
		go func() {
			conn, err := d.server.Run(t.Context())
			if err != nil {
				t.Error(err)
			}
			for range 10 { // before the client has finished
				_, _ = conn.Write([]byte("x"))
			}
			served <- conn
		}()
		conn, err := d.client.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, s := serve(t, conn), serve(t, <-served)
		synctest.Wait()
		for len(c.got) > 0 {
			<-c.got
		}
		mustTalk(t, s, c)
		if lose != 0 || len(seen) < 14 {
			t.Errorf("%d flights were not repeated, %d records seen", lose, len(seen))
		}
		for number, times := range seen {
			if times > 1 {
				t.Errorf("number %d was used %d times", number, times)
			}
		}
	})
}

// TestLibraryIsSilenced bounds what the library sends in a session.
func TestLibraryIsSilenced(t *testing.T) {
	sent := 0
	l := newLink(false, func([]byte) error { sent++; return nil })
	l.enter(open)
	for range 10 * maxRepeated {
		_, _ = l.WriteTo([]byte{typeHandshake}, nil)
	}
	if sent != maxRepeated || maxLibrary+maxRepeated >= firstNumber {
		t.Errorf("%d datagrams, numbered from up to %d", sent, maxLibrary)
	}
}

func TestNumbersRunOut(t *testing.T) {
	c, s := pair(t, anyone(t), anyone(t))
	c.number.Store(lastNumber)
	mustTalkOneWay(t, c, s)
	for range 3 {
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
	}
}

func mustTalkOneWay(t *testing.T, from, to *session) {
	t.Helper()
	if err := talk(t, from, to, "one way"); err != nil {
		t.Fatal(err)
	}
}

// TestWindow compares the window with one that forgets nothing.
func TestWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, step := range []uint64{1, 3, 64, 1000, 5000, 1 << 30} {
		var w window
		seen, top := map[uint64]bool{}, uint64(0)
		for i := range 20000 {
			n := random.Uint64N(step + 1)
			if top > replayWindow && random.IntN(2) == 0 {
				n = top - random.Uint64N(2*replayWindow)%top
			} else {
				n += top
			}
			want := !seen[n] && n+replayWindow >= top
			if got := w.fresh(n); got != want {
				t.Fatalf("step %d, record %d: %d with top %d is fresh: %v", step, i, n, top, got)
			}
			if want {
				w.mark(n)
				seen[n], top = true, max(top, n+1)
			}
		}
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	c, s, err := Pipe(t.Context(), anyone(t), anyone(t))
	if err != nil {
		t.Fatal(err)
	}
	b, got := make([]byte, 1150), 0
	s.begin(func(b []byte) { got += len(b) })
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.Write(b) }); n > 0.1 { // the pools may be emptied under way
		t.Errorf("%v allocations", n)
	}
	if got < 1000*len(b) {
		t.Errorf("%d bytes arrived", got)
	}
	_, _ = c.Close(), s.Close()
}
