package basestation

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/secure"
	"github.com/latchkey-dev/latchkey/internal/session"
	"github.com/latchkey-dev/latchkey/internal/signal"
)

const (
	// byeTime is how long a peer has to take a goodbye in.
	byeTime = 200 * time.Millisecond
	// callTime bounds every request of ours.
	callTime = 10 * time.Second
)

// What a datagram with a CoAP message begins with (RFC 7252 section 3).
const (
	coapFirst = 0x40
	coapLast  = 0x7f
)

// A leg is a peer whose key is proven, connected by UDP or TCP. It is an
// Attachment once it attached.
type leg struct {
	s           *station
	key         latchkey.Fingerprint
	source      netip.AddrPort
	transport   string            // "udp" or "tls"
	certificate [sha256.Size]byte // that carried the key
	since       time.Time
	coap        *coap.Endpoint
	heard       func() time.Time         // when the peer was last heard
	farewell    func(code latchkey.Code) // tells the peer why it ends; does not wait long
	shut        func()                   // ends the connection
	vouch       func()                   // for the connection, when the peer is trusted; nil: none is needed
	serve       func() error             // carries messages until the connection ends

	// Of legs, which guards them.
	slot     int           // of legs.slots
	guest    bool          // its key is no device's
	stranger *list.Element // of legs.strangers; nil: it is none
	device   bool          // it attached

	ending atomic.Bool     // End was called
	ctx    context.Context // ends with the leg
	end    context.CancelFunc

	trusted  atomic.Bool // it attached, or was introduced
	refusals atomic.Int32

	mu      sync.Mutex
	id      latchkey.DeviceID // attached as; zero: not attached
	waiting map[latchkey.DeviceID]struct{}
}

func (s *station) newLeg(key latchkey.Fingerprint, source netip.AddrPort, transport string) *leg {
	l := &leg{s: s, key: key, source: source, transport: transport, since: time.Now()}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// udpLeg makes the leg of a DTLS connection.
func (s *station) udpLeg(c *secure.Conn) *leg {
	peer := c.Peer()
	l := s.newLeg(peer.Key, peer.Meta.Src, "udp")
	l.certificate = peer.Certificate
	write := func(b []byte) error {
		_, err := c.Write(b)
		return err
	}
	cfg := s.coapConfig(l)
	cfg.Send = write
	l.coap = coap.New(cfg)
	l.heard = c.LastHeard
	l.farewell = func(code latchkey.Code) { _ = write(session.Goodbye(code)) } // lost or not, close_notify follows
	l.shut = func() { _ = c.Close() }
	l.serve = func() error {
		err := c.Serve(func(b []byte) {
			if len(b) > 0 && b[0] >= coapFirst && b[0] <= coapLast {
				l.coap.Deliver(b)
			}
		})
		l.coap.Close()
		l.coap.Wait()
		return err
	}
	return l
}

// coapConfig is for a peer that may send small messages only, unless it is a
// registered device.
func (s *station) coapConfig(l *leg) coap.Config {
	size := signal.MaxMessage
	if _, ok := s.registry.ByKey(l.key); ok {
		size = signal.MaxTokensMessage
	}
	return coap.Config{
		Handler: l.handle, MaxBody: size, Log: s.log,
		Workers: 4, Queue: 16, Uploads: 2, Downloads: 1, Observations: 1, InFlight: 32,
	}
}

// carry serves the leg until it ends. It is the leg's own goroutine.
func (s *station) carry(l *leg) {
	_, registered := s.registry.ByKey(l.key)
	l.guest = !registered
	gone, ok := s.legs.add(l)
	for _, other := range gone {
		other.End(latchkey.CodeTooMany)
	}
	if !ok {
		s.events.refuse(Event{Kind: EventPeerRefused, Key: l.key, Source: l.source, Reason: "too many peers"})
		l.farewell(latchkey.CodeTooMany)
		select { // the peer may have to finish its handshake first
		case <-time.After(byeTime):
		case <-s.ctx.Done():
		}
		l.shut()
		l.coap.Close()
		l.end()
		return
	}
	if s.draining.Load() {
		l.End(latchkey.CodeShutdown)
	}
	err := l.serve()
	if id := l.attachedAs(); id != (latchkey.DeviceID{}) {
		s.presence.Remove(id, l) // before calls to it fail, and somebody asks again
	}
	l.end()
	s.legs.remove(l)
	if id := l.attachedAs(); id != (latchkey.DeviceID{}) {
		s.presence.Remove(id, l)
		s.registry.Saw(id, time.Now())
		s.events.add(Event{Kind: EventDetached, Device: id, Key: l.key, Source: l.source, Reason: reasonOf(err)})
	}
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Key implements Attachment.
func (l *leg) Key() latchkey.Fingerprint { return l.key }

// End implements Attachment.
func (l *leg) End(code latchkey.Code) {
	if l.ending.Swap(true) {
		return
	}
	l.s.start(func() { // ends after byeTime, or with the leg
		l.farewell(code)
		select {
		case <-l.ctx.Done(): // the peer has read it, and ended the connection itself
		case <-time.After(byeTime):
		}
		l.shut()
	})
}

// Call implements Attachment.
func (l *leg) Call(ctx context.Context, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	l.s.legs.busy(l, +1)
	defer l.s.legs.busy(l, -1)
	r := coap.NewRequest(coap.POST, path)
	r.Format, r.Body = coap.CBOR, body
	answer, err := l.coap.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if answer.Code.Class() == 2 {
		return answer.Body, nil
	}
	code, ok := coap.CodeOf(answer)
	if !ok {
		code = latchkey.CodeOf(latchkey.ErrorOfCoAP(uint8(answer.Code)))
	}
	if code == 0 {
		code = latchkey.CodeProtocol
	}
	return nil, &latchkey.RemoteError{Op: path, Peer: l.key, Code: code}
}

// send calls with a message that is answered by a code alone.
func send(ctx context.Context, a Attachment, path string, m signal.Message) error {
	body, err := signal.Marshal(m)
	if err != nil {
		return err
	}
	_, err = a.Call(ctx, path, body)
	return err
}

func (l *leg) attachedAs() latchkey.DeviceID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// present reports whether l is the attachment of the device it attached as.
func (l *leg) present() (latchkey.DeviceID, bool) {
	id := l.attachedAs()
	if id == (latchkey.DeviceID{}) {
		return id, false
	}
	a, ok := l.s.presence.Get(id)
	return id, ok && a == Attachment(l)
}
