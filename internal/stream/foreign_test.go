package stream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pion/sctp"

	"github.com/latchkey-dev/latchkey"
)

// A foreign peer speaks SCTP and whatever a test wants above it.
type foreign struct {
	t    testing.TB
	a    *sctp.Association
	peer *Mux
}

// newForeign connects a foreign client to a device, or a foreign device to a
// client, as cfg says what the Mux is.
func newForeign(t testing.TB, cfg Config) *foreign {
	t.Helper()
	f := &foreign{t: t}
	quiet := slog.New(slog.DiscardHandler)
	l := newLeg(func(b []byte) error {
		f.peer.Deliver(b)
		return nil
	})
	cfg.Log = quiet
	cfg.Send = func(b []byte) error {
		l.deliver(b)
		return nil
	}
	f.peer = New(cfg)
	made := make(chan error, 1)
	go func() {
		var err error
		f.a, err = associate(l, !cfg.Client, mtu, quiet)
		made <- err
	}()
	if cfg.Client {
		_, _ = f.peer.connected(t.Context())
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = f.a.Close()
		f.peer.Close(nil)
	})
	return f
}

// A foreignChannel is one SCTP stream of a foreign peer.
type foreignChannel struct {
	t testing.TB
	*sctp.Stream
}

func (f *foreign) channel(id uint16) *foreignChannel {
	f.t.Helper()
	s, err := f.a.OpenStream(id, ppiBinary)
	if err != nil {
		f.t.Fatal(err)
	}
	return &foreignChannel{f.t, s}
}

// open opens a tunnel as a browser would.
func (f *foreign) open(id uint16, service string) *foreignChannel {
	f.t.Helper()
	c := f.channel(id)
	c.send(ppiDCEP, string(dcepOpenMessage{priority: dcepPriorityNormal, label: service, protocol: protocolTunnel}.append(nil)))
	return c
}

func (c *foreignChannel) send(ppi sctp.PayloadProtocolIdentifier, text string) {
	c.t.Helper()
	if _, err := c.WriteSCTP([]byte(text), ppi); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next message as "PPI text", or "end".
func (c *foreignChannel) next() string {
	c.t.Helper()
	buf := make([]byte, maxMessage)
	defer time.AfterFunc(patience, func() { panic(c.t.Name() + ": no message came") }).Stop()
	n, ppi, err := c.ReadSCTP(buf)
	if errors.Is(err, io.EOF) {
		return "end"
	}
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return fmt.Sprintf("%d %s", uint32(ppi), buf[:n])
}

// expect reads the given messages.
func (c *foreignChannel) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

const (
	acked     = "50 \x02"
	opened    = `51 {"open":"ok","credit":262144}`
	violation = `51 {"reset":2}`
)

// A tunnel message by message, as docs/protocol.md spells it.
func TestWire(t *testing.T) {
	f := newForeign(t, accepting(echo))
	c := f.open(0, "echo")
	c.send(ppiText, `{"credit":5}`)
	c.expect(acked, opened)
	c.send(ppiBinary, "hello, world")
	c.send(ppiEmpty, "\x00")
	c.expect("53 hello")
	c.send(ppiText, `{"credit":100}`)
	c.expect("53 , world")
	c.send(ppiText, `{"fin":true}`)
	c.expect(`51 {"fin":true}`, "end")
	_ = c.Close()
	eventually(t, "the channel is forgotten", func() bool { return channels(f.peer) == 0 })
}

func channels(m *Mux) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.channels + len(m.streams) + len(m.flows) + len(m.opening) + m.live + m.unanswered + m.handlers
}

// What comes before the answer waits for it, up to 16 KiB.
func TestEarlyPayload(t *testing.T) {
	offers, release := make(chan *Incoming), make(chan struct{})
	f := newForeign(t, Config{Accept: func(in *Incoming) {
		offers <- in
		<-release
	}})
	defer close(release)
	c := f.open(0, "ssh")
	early := strings.Repeat("x", floorCredit/2)
	c.send(ppiBinary, early)
	c.send(ppiBinary, early)
	in := <-offers
	if in.Service() != "ssh" || in.Datagram() {
		t.Errorf("offered %q %v", in.Service(), in.Datagram())
	}
	s, err := in.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, floorCredit)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != early+early {
		t.Errorf("early payload: %v", err)
	}
	c.expect(acked, opened)

	d := f.open(2, "ssh")
	d.send(ppiBinary, early)
	in = <-offers
	d.send(ppiBinary, early+"x")
	d.expect(acked, violation, "end")
	<-in.Context().Done()
	if _, err := in.Accept(); !errors.Is(err, latchkey.ErrProtocol) {
		t.Errorf("accept after the peer was reset: %v", err)
	}
}

// Each of these ends the tunnel with CodeProtocol, and nothing else.
func TestViolations(t *testing.T) {
	f := newForeign(t, accepting(func(s *Stream) {
		defer s.Close()
		if s.Service() == "good" {
			echo(s)
			return
		}
		_, _ = io.Copy(io.Discard, s)
		<-s.ctx.Done()
	}))
	good := f.open(0, "good")
	good.send(ppiText, `{"credit":100}`)
	good.expect(acked, opened)
	id := uint16(0)
	for name, violate := range map[string]func(c *foreignChannel){
		"malformed control":   func(c *foreignChannel) { c.send(ppiText, `{"credit": 1}`) },
		"empty text":          func(c *foreignChannel) { c.send(sctp.PayloadTypeWebRTCStringEmpty, "\x00") },
		"unknown identifier":  func(c *foreignChannel) { c.send(0, "x") },
		"an answer":           func(c *foreignChannel) { c.send(ppiText, `{"open":"ok","credit":1}`) },
		"a refusal":           func(c *foreignChannel) { c.send(ppiText, `{"open":"refused","code":4}`) },
		"credit that shrinks": func(c *foreignChannel) { c.send(ppiText, `{"credit":99}`) },
		"a second open":       func(c *foreignChannel) { c.send(ppiDCEP, string(tunnelOpen)) },
		"an acknowledgement":  func(c *foreignChannel) { c.send(ppiDCEP, "\x02") },
		"payload after fin":   func(c *foreignChannel) { c.send(ppiText, `{"fin":true}`); c.send(ppiBinary, "x") },
		"a second fin":        func(c *foreignChannel) { c.send(ppiText, `{"fin":true}`); c.send(ppiText, `{"fin":true}`) },
		"a message of 64 KiB +1": func(c *foreignChannel) {
			f.a.SetMaxMessageSize(1 << 20)
			c.send(ppiBinary, strings.Repeat("x", maxMessage+1))
		},
		"a megabyte of control": func(c *foreignChannel) { f.a.SetMaxMessageSize(1 << 20); c.send(ppiText, strings.Repeat(" ", 1<<20)) },
	} {
		id += 2
		c := f.open(id, "bad")
		c.send(ppiText, `{"credit":100}`)
		c.expect(acked, opened)
		violate(c)
		if got := c.next(); got != violation {
			t.Errorf("%s: got %q", name, got)
		}
		c.expect("end")
		_ = c.Close()
	}
	good.send(ppiBinary, "still here")
	good.send(ppiText, `{"fin":true}`)
	good.expect("53 still here", `51 {"fin":true}`)
}

// Each of these is refused before anybody is asked.
func TestBadOpens(t *testing.T) {
	f := newForeign(t, Config{Accept: func(in *Incoming) {
		t.Errorf("offered %q", in.Service())
		in.Refuse(latchkey.CodeNotFound)
	}})
	const protocol, notFound = `51 {"open":"refused","code":2}`, `51 {"open":"refused","code":5}`
	open := func(m dcepOpenMessage) string { return string(m.append(nil)) }
	id := uint16(0)
	for name, c := range map[string]struct {
		ppi   sctp.PayloadProtocolIdentifier
		first string
		want  []string
	}{
		"payload first":     {ppiBinary, "x", []string{protocol}},
		"control first":     {ppiText, `{"fin":true}`, []string{protocol}},
		"malformed":         {ppiDCEP, string(tunnelOpen[:20]), []string{protocol}},
		"large":             {ppiDCEP, strings.Repeat("x", maxMessage), []string{protocol}},
		"unknown protocol":  {ppiDCEP, open(dcepOpenMessage{label: "x", protocol: "chat"}), []string{acked, notFound}},
		"no protocol":       {ppiDCEP, open(dcepOpenMessage{label: "x"}), []string{acked, notFound}},
		"unreliable tunnel": {ppiDCEP, open(dcepOpenMessage{label: "x", protocol: protocolTunnel, channelType: channelUnorderedRexmit}), []string{acked, notFound}},
		"reliable flow":     {ppiDCEP, open(dcepOpenMessage{label: "0", protocol: protocolDatagram}), []string{acked, notFound}},
		"no service":        {ppiDCEP, open(dcepOpenMessage{protocol: protocolTunnel}), []string{acked, notFound}},
		"long service":      {ppiDCEP, open(dcepOpenMessage{label: strings.Repeat("x", 256), protocol: protocolTunnel}), []string{acked, notFound}},
		"flow of no number": {ppiDCEP, open(dcepOpenMessage{label: "00", protocol: protocolDatagram, channelType: channelUnorderedRexmit}), []string{acked, protocol}},
		"flow of an odd id": {ppiDCEP, open(dcepOpenMessage{label: "1", protocol: protocolDatagram, channelType: channelUnorderedRexmit}), []string{acked, protocol}},
		"flow of its own":   {ppiDCEP, open(dcepOpenMessage{label: "60000", protocol: protocolDatagram, channelType: channelUnorderedRexmit, reliability: 1}), []string{acked, notFound}},
	} {
		t.Run(name, func(t *testing.T) {
			ch := f.channel(id)
			ch.t = t
			id += 2
			ch.send(c.ppi, c.first)
			ch.expect(append(c.want, "end")...)
			_ = ch.Close()
		})
	}
	t.Run("odd id", func(t *testing.T) {
		c := f.open(1, "ssh")
		c.t = t
		c.expect(protocol, "end")
		_ = c.Close()
	})
	eventually(t, "everything is forgotten", func() bool { return channels(f.peer) == 0 })
}

// An id that was used before is refused, however the peer closed it.
func TestReusedID(t *testing.T) {
	f := newForeign(t, accepting(echo))
	c := f.open(0, "echo")
	c.send(ppiText, `{"fin":true}`)
	c.expect(acked, `51 {"open":"ok","credit":16384}`, `51 {"fin":true}`, "end")
	_ = c.Close()
	eventually(t, "the channel is forgotten", func() bool { return channels(f.peer) == 0 })
	again := f.open(0, "echo")
	again.expect(`51 {"open":"refused","code":2}`, "end")
	if f.peer.Live() != 0 {
		t.Error("a stream was made")
	}
}

// A channel that closes without fin or reset was cut off.
func TestCutOff(t *testing.T) {
	result := make(chan error, 1)
	f := newForeign(t, accepting(func(s *Stream) {
		_, err := io.Copy(io.Discard, s)
		result <- err
	}))
	c := f.open(0, "x")
	c.send(ppiText, `{"credit":1}`)
	c.expect(acked, opened)
	_ = c.Close()
	if err := <-result; !errors.Is(err, latchkey.ErrReset) {
		t.Errorf("read %v, want a reset", err)
	}
	c.expect("end")
}

// A device that breaks the protocol towards a client.
func TestForeignDevice(t *testing.T) {
	f := newForeign(t, Config{Client: true})
	for name, c := range map[string]struct {
		ppi  sctp.PayloadProtocolIdentifier
		text string
		want error
	}{
		"payload before the answer": {ppiBinary, "x", latchkey.ErrProtocol},
		"credit before the answer":  {ppiText, `{"credit":1}`, latchkey.ErrProtocol},
		"fin before the answer":     {ppiText, `{"fin":true}`, latchkey.ErrProtocol},
		"unknown code":              {ppiText, `{"open":"refused","code":200}`, nil},
		"reset instead of answer":   {ppiText, `{"reset":19}`, latchkey.ErrRevoked},
		"refused":                   {ppiText, `{"open":"refused","code":4}`, latchkey.ErrForbidden},
	} {
		result := make(chan error, 1)
		go func() {
			_, err := f.peer.Open(t.Context(), "x")
			result <- err
		}()
		s, err := f.a.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		ch := &foreignChannel{t, s}
		ch.expect("50 "+string(dcepOpenMessage{priority: 256, label: "x", protocol: protocolTunnel}.append(nil)), `51 {"credit":262144}`)
		ch.send(ppiDCEP, "\x02")
		ch.send(c.ppi, c.text)
		err = <-result
		var remote *latchkey.RemoteError
		if c.want == nil && !errors.As(err, &remote) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		for ch.next() != "end" {
		}
		_ = ch.Close()
	}
	// A device opens nothing.
	c := f.open(1, "x")
	c.expect(`51 {"open":"refused","code":2}`, "end")
}
