package basestation

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A web serves HTTPS on connections that are handed to it. It is the listener of
// its own http.Server.
type web struct {
	server *http.Server
	ready  chan net.Conn
	done   chan struct{}
	once   sync.Once
	addr   net.Addr

	mu   sync.Mutex
	open map[net.Conn]chan struct{} // closed when the connection has ended
}

const (
	headerTime  = 5 * time.Second
	requestTime = 30 * time.Second
	headerSize  = 16 << 10
)

func (s *station) newWeb() *web {
	w := &web{
		ready: make(chan net.Conn), done: make(chan struct{}), addr: s.doors[0].Addr(),
		open: make(map[net.Conn]chan struct{}),
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collector{s}, collectors.NewGoCollector())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", s.fromHere(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})))
	w.server = &http.Server{
		Handler: mux, ConnState: w.state, MaxHeaderBytes: headerSize,
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: requestTime,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return w
}

// take serves a connection and returns when it has ended.
func (w *web) take(conn net.Conn) error {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	ended := make(chan struct{})
	w.mu.Lock()
	w.open[conn] = ended
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.open, conn)
		w.mu.Unlock()
	}()
	select {
	case w.ready <- conn:
	case <-w.done:
		return net.ErrClosed
	}
	<-ended // the server's time limits bound it, and close ends it
	return nil
}

// state is http.Server.ConnState.
func (w *web) state(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended := w.open[conn]; ended != nil {
		close(ended)
		delete(w.open, conn)
	}
}

// serve runs until close.
func (w *web) serve() { _ = w.server.Serve(w) } // always ErrServerClosed or net.ErrClosed

// Accept implements net.Listener.
func (w *web) Accept() (net.Conn, error) {
	select {
	case conn := <-w.ready:
		return conn, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (w *web) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}

// Addr implements net.Listener.
func (w *web) Addr() net.Addr { return w.addr }

// close ends all connections.
func (w *web) close() {
	_ = w.Close()
	_ = w.server.Close()
}

// health says whether the basestation works: it takes new peers, and what it has
// to keep can be written.
func (s *station) health(w http.ResponseWriter, _ *http.Request) {
	status, text := http.StatusOK, "ok\n"
	switch {
	case s.draining.Load():
		status, text = http.StatusServiceUnavailable, "draining\n"
	case s.registry.Err() != nil:
		status, text = http.StatusServiceUnavailable, "the registry cannot be written\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the peer is gone, or it is not
}

// fromHere serves only those networks that may read metrics.
func (s *station) fromHere(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !s.mayRead(source.Addr().Unmap().WithZone("")) {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *station) mayRead(source netip.Addr) bool {
	if len(s.srv.MetricsFrom) == 0 {
		return source.IsLoopback()
	}
	return slices.ContainsFunc(s.srv.MetricsFrom, func(p netip.Prefix) bool { return p.Contains(source) })
}
