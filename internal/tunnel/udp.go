package tunnel

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// maxSources is how many local sources have a flow at once; another one
	// takes the place of the one that was quiet the longest.
	maxSources = 128
	// maxEarly is how many datagrams wait for their flow to open.
	maxEarly = 16
	// retryTime is how long a source whose flow could not be opened is ignored.
	retryTime = time.Second
)

// ServeUDP gives each source of datagrams on pc a flow of its own, which open
// opens, and passes datagrams both ways. A flow ends when it is idle for as
// long as idle, 0 for two minutes, or when the peer ends it; the next datagram
// of its source opens another. ServeUDP returns the cause of ctx when that
// ends, or the error of pc, after its last goroutine. It leaves pc open, with a
// read deadline that has passed.
func ServeUDP(ctx context.Context, pc net.PacketConn, open func(context.Context) (net.Conn, error), idle time.Duration) error {
	if idle <= 0 {
		idle = idleTime
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &udpServer{ctx: ctx, pc: pc, open: open, idle: idle, sources: make(map[string]*source)}
	defer s.wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = pc.SetReadDeadline(time.Now()) })()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, addr, err := pc.ReadFrom(buf[:])
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !isEcho(err):
			return err
		case err == nil:
			s.source(addr).send(buf[:n])
		}
	}
}

// A udpServer is the flows of one local socket.
type udpServer struct {
	ctx  context.Context
	pc   net.PacketConn
	open func(context.Context) (net.Conn, error)
	idle time.Duration
	wg   sync.WaitGroup

	mu      sync.Mutex
	sources map[string]*source
}

// A source is one local address and its flow.
type source struct {
	addr   net.Addr
	cancel context.CancelFunc
	idle   idleClock

	mu    sync.Mutex
	conn  net.Conn // nil before it is open
	early [][]byte // what waits for that
}

// source returns the source at addr, a new one if need be.
func (s *udpServer) source(addr net.Addr) *source {
	key := addr.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[key]
	if src == nil {
		s.evictLocked()
		ctx, cancel := context.WithCancel(s.ctx)
		src = &source{addr: addr, cancel: cancel, idle: idleClock{limit: s.idle}}
		src.idle.touch()
		s.sources[key] = src
		s.wg.Go(func() { s.serve(ctx, key, src) }) // ends with the flow or ctx
	}
	return src
}

// evictLocked makes room for one more source.
func (s *udpServer) evictLocked() {
	if len(s.sources) < maxSources {
		return
	}
	var oldest string
	for key, src := range s.sources {
		if oldest == "" || src.idle.last.Load() < s.sources[oldest].idle.last.Load() {
			oldest = key
		}
	}
	s.sources[oldest].cancel()
	delete(s.sources, oldest)
}

// send passes a datagram to the flow, or keeps it until there is one.
func (src *source) send(b []byte) {
	src.idle.touch()
	src.mu.Lock()
	defer src.mu.Unlock()
	switch {
	case src.conn != nil:
		_, _ = src.conn.Write(b) // an error is loss, and ends Read if it lasts
	case len(src.early) < maxEarly:
		src.early = append(src.early, append([]byte(nil), b...))
	}
}

// serve opens the flow of a source and carries what comes back.
func (s *udpServer) serve(ctx context.Context, key string, src *source) {
	defer src.cancel()
	conn, err := s.open(ctx)
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(retryTime):
		}
		s.remove(key, src)
		return
	}
	defer conn.Close()
	defer s.remove(key, src) // first, so that the next datagram opens another
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	src.idle.start(conn)
	src.opened(conn)
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.idle.read(conn, buf[:])
		if err != nil {
			return
		}
		_, _ = s.pc.WriteTo(buf[:n], src.addr) // an error is the loss of one datagram
	}
}

// opened sends what waited.
func (src *source) opened(conn net.Conn) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.conn = conn
	for _, b := range src.early {
		_, _ = conn.Write(b)
	}
	src.early = nil
}

// remove forgets a source, unless another took its place.
func (s *udpServer) remove(key string, src *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[key] == src {
		delete(s.sources, key)
	}
}
