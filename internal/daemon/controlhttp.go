package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// controlPrefix is the path below which the operations lie: POST
// /v1/user/list.
const controlPrefix = "/v1/"

const (
	headerTime   = 5 * time.Second // to send a request's header
	requestTime  = 30 * time.Second
	shutdownTime = 2 * time.Second // for commands under way when the daemon stops
)

// controlServer answers operations on the control socket.
type controlServer struct {
	http http.Server
	done chan error
}

// startControl serves l until stop. ctx is the daemon's.
func startControl(ctx context.Context, l net.Listener, a *admin, log *slog.Logger) *controlServer {
	s := &controlServer{done: make(chan error, 1)}
	s.http = http.Server{
		Handler:           controlHandler(a),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       requestTime,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() { s.done <- s.http.Serve(l) }() // ends with stop
	return s
}

// stop lets commands under way finish, within shutdownTime, and ends the rest.
func (s *controlServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
}

func controlHandler(a *admin) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := answer(a, w, r)
		status := http.StatusOK
		if err != nil {
			status = http.StatusUnprocessableEntity
			out, _ = json.Marshal(controlError(err)) // three strings and a number
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(out) // the other end may have left
	})
}

func answer(a *admin, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	op, ok := strings.CutPrefix(r.URL.Path, controlPrefix)
	if !ok || r.Method != http.MethodPost {
		return nil, errors.New("operations are POST " + controlPrefix + "NAME")
	}
	in, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		return nil, err
	}
	return a.do(r.Context(), op, in)
}

// socketBackend sends operations to the running daemon.
type socketBackend struct {
	client http.Client
	conn   net.Conn
}

// newSocketBackend uses conn for the first request and all that follow.
func newSocketBackend(conn net.Conn) *socketBackend {
	first := make(chan net.Conn, 1)
	first <- conn
	dial := func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-first:
			return c, nil
		default:
			return nil, errors.New("the daemon ended the connection")
		}
	}
	return &socketBackend{client: http.Client{Transport: &http.Transport{DialContext: dial}}, conn: conn}
}

func (b *socketBackend) call(ctx context.Context, op string, in []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://latchkeyd"+controlPrefix+op, bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return out, nil
	}
	refusal := new(ControlError)
	if err := decodeJSON(out, refusal); err != nil {
		return nil, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return nil, refusal
}

func (b *socketBackend) close() error { return b.conn.Close() }
