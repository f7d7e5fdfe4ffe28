package admin

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
	"net/url"
	"strings"
	"time"
)

// prefix is the path below which the operations lie: POST /v1/user/list.
const prefix = "/v1/"

const (
	headerTime   = 5 * time.Second // to send a request's header
	requestTime  = 30 * time.Second
	shutdownTime = 2 * time.Second // for commands under way when the daemon stops
)

// MaxWait is how long an operation may take its time for something to happen.
// The connection would end it at requestTime.
const MaxWait = 20 * time.Second

// ErrEnded reports a daemon that ended the connection without an answer.
var ErrEnded = errors.New("the daemon ended the connection")

// do carries out one operation.
type do func(ctx context.Context, op string, in []byte) ([]byte, error)

// server answers operations on the control socket.
type server struct {
	http http.Server
	done chan error
}

// startServer serves l until stop. ctx is the daemon's.
func startServer(ctx context.Context, l net.Listener, f do, log *slog.Logger) *server {
	s := &server{done: make(chan error, 1)}
	s.http = http.Server{
		Handler:           handler(f),
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
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
}

func handler(f do) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := answer(f, w, r)
		status := http.StatusOK
		if err != nil {
			status = http.StatusUnprocessableEntity
			out, _ = json.Marshal(errorOf(err)) // three strings and a number
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(out) // the other end may have left
	})
}

func answer(f do, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	op, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok || r.Method != http.MethodPost {
		return nil, errors.New("operations are POST " + prefix + "NAME")
	}
	in, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessage))
	if err != nil {
		return nil, err
	}
	return f(r.Context(), op, in)
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
			return nil, net.ErrClosed
		}
	}
	return &socketBackend{client: http.Client{Transport: &http.Transport{DialContext: dial}}, conn: conn}
}

// Do implements Backend.
func (b *socketBackend) Do(ctx context.Context, op string, in []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+prefix+op, bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, lost(ctx, err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, MaxMessage))
	if err != nil {
		return nil, lost(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return out, nil
	}
	refusal := new(Error)
	if err := decodeJSON(out, refusal); err != nil {
		return nil, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return nil, refusal
}

// lost is the error of a call without an answer.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var where *url.Error // names an address that means nothing to a person
	if errors.As(err, &where) {
		err = where.Err
	}
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

// Close implements Backend.
func (b *socketBackend) Close() error {
	if err := b.conn.Close(); !errors.Is(err, net.ErrClosed) { // the client may have closed it
		return err
	}
	return nil
}
