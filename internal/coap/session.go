package coap

import (
	"context"
	"errors"
	"net"
	"time"

	codec "github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/net/responsewriter"
	"github.com/plgd-dev/go-coap/v3/udp/client"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

// session lets go-coap's client connection send through an Endpoint. It
// implements client.Session.
//
// The connection matches answers to requests. Everything about reliability
// stays with the Endpoint: it numbers the messages, repeats them with
// exponential backoff, acknowledges answers, tells duplicates apart, and shows
// the connection only what one of its requests is waiting for. So the
// connection's own timers and caches have nothing to do.
type session struct{ e *Endpoint }

var _ client.Session = session{}

// newConn starts go-coap's client connection. It owns one goroutine, which
// ends with the endpoint's context.
func newConn(e *Endpoint) *client.Conn {
	cfg := client.DefaultConfig
	cfg.Errors = func(err error) { e.log.Debug("coap exchange", "err", err) }
	cfg.Handler = func(*responsewriter.ResponseWriter[*client.Conn], *pool.Message) {}
	cfg.TransmissionNStart = uint32(e.cfg.InFlight)
	cfg.LimitClientParallelRequests, cfg.LimitClientEndpointParallelRequests = 0, 0
	// An open request is shown at most two messages, so that its queue has
	// room even while some of them belong to requests that were given up.
	cfg.ReceivedMessageQueueSize = 4 * e.cfg.InFlight
	return client.NewConnWithOpts(session{e}, &cfg, client.WithResponseMessageCache(noCache{}))
}

// WriteMessage sends a request and repeats it until it is acknowledged.
// Acknowledgements are not passed on: the Endpoint has sent them.
func (s session) WriteMessage(m *pool.Message) error {
	if m.Type() != codec.Confirmable {
		return nil
	}
	b, err := m.MarshalWithEncoder(coder.DefaultCoder)
	if err != nil {
		return err
	}
	return s.e.transmit(uint16(m.MessageID()), m.Token(), b)
}

func (s session) Context() context.Context { return s.e.ctx }
func (s session) Done() <-chan struct{}    { return s.e.ctx.Done() }
func (s session) AddOnClose(f func())      { context.AfterFunc(s.e.ctx, f) }
func (s session) MaxMessageSize() uint32   { return maxDatagram }

func (s session) Close() error {
	s.e.Close()
	return nil
}

// The rest of client.Session is for connections that own a socket.

var errNoSocket = errors.New("coap: an endpoint has no socket")

func (session) RemoteAddr() net.Addr     { return nil }
func (session) LocalAddr() net.Addr      { return nil }
func (session) NetConn() net.Conn        { return nil }
func (session) SetContextValue(_, _ any) {}
func (session) Run(*client.Conn) error   { return errNoSocket }
func (session) WriteMulticastMessage(*pool.Message, *net.UDPAddr, ...coapnet.MulticastOption) error {
	return errNoSocket
}

// noCache stands in for go-coap's memory of answers, which knows them by
// message id alone; replies does that work here.
type noCache struct{}

func (noCache) Load(string, *pool.Message) (bool, error) { return false, nil }
func (noCache) Store(string, *pool.Message) error        { return nil }
func (noCache) CheckExpirations(time.Time)               {}
