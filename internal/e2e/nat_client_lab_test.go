//go:build lab

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey/client"
)

// A dialOrder tells the client how to connect and what to send first.
type dialOrder struct {
	Via     client.Via
	Tunnel  bool // the first byte goes through a tunnel, else it is a CoAP request
	Timeout time.Duration
}

// A mark is something that the client logged while it connected.
type mark struct {
	What string
	At   time.Duration // since Dial was called
}

// A dialled is what came of a dialOrder.
type dialled struct {
	Dial  time.Duration // until Dial returned
	First time.Duration // until the device had the first byte
	Path  client.Path
	Marks []mark
}

type awaitOrder struct {
	Kind    string
	Timeout time.Duration
}

type transferOrder struct {
	Bytes int64
	Rate  int64 // bytes a second; zero: as fast as it goes
}

// A gap is a time in which nothing arrived.
type gap struct {
	From time.Time
	Took time.Duration
}

// minGap is how long nothing has to arrive to be recorded.
const minGap = 100 * time.Millisecond

// A transferred is how far a transfer has come.
type transferred struct {
	Received int64
	Last     time.Time // when something arrived
	Gaps     []gap
	Over     bool
	Equal    bool // over, and what came back is what was sent
	Error    string
}

// A player is the client's process.
type player struct {
	cfg    roleConfig
	client *client.Client
	conn   *client.Conn
	began  time.Time // of the last Dial
	marks  *marks

	mu    sync.Mutex
	state transferred
}

func playClient(cfg roleConfig) error {
	p := &player{cfg: cfg, marks: &marks{Handler: roleLog().Handler()}}
	p.renew()
	err := obey(p.do)
	if p.conn != nil {
		err = errors.Join(err, p.conn.Close())
	}
	return errors.Join(err, p.client.Close())
}

func (p *player) renew() {
	p.client = &client.Client{Dir: p.cfg.Dir, NoDiscovery: true, Logger: slog.New(p.marks)}
}

func (p *player) do(c command) (any, error) {
	switch c.Op {
	case "dial":
		return with(c, p.dial)
	case "await":
		return with(c, p.await)
	case "echo":
		return with(c, p.echo)
	case "transfer":
		return with(c, p.transfer)
	case "progress":
		p.mu.Lock()
		defer p.mu.Unlock()
		s := p.state
		s.Gaps = slices.Clone(s.Gaps)
		return s, nil
	case "path":
		return p.conn.Path(), context.Cause(p.conn.Context())
	case "ping":
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return p.conn.Ping(ctx)
	case "netcheck":
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return p.client.Netcheck(ctx, p.cfg.Basestations, p.cfg.Key)
	case "close":
		return nil, p.conn.Close()
	case "forget": // what is kept warm
		err := p.client.Close()
		p.renew()
		return nil, err
	}
	return nil, fmt.Errorf("no command %q", c.Op)
}

func with[A, R any](c command, f func(A) (R, error)) (any, error) {
	var a A
	if err := json.Unmarshal(c.Args, &a); err != nil {
		return nil, err
	}
	return f(a)
}

func (p *player) dial(o dialOrder) (d dialled, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	p.marks.reset()
	p.began = time.Now()
	if p.conn, err = p.client.DialWith(ctx, "home", client.DialOptions{Via: o.Via}); err != nil {
		return d, err
	}
	d.Dial = time.Since(p.began)
	d.Path = p.conn.Path()
	stamp := p.stampCoAP
	if o.Tunnel {
		stamp = p.stampTunnel
	}
	at, err := stamp(ctx)
	d.First = at.Sub(p.began)
	d.Marks = p.marks.since(p.began)
	return d, err
}

func (p *player) stampCoAP(ctx context.Context) (time.Time, error) {
	r, err := p.conn.Do(ctx, &client.Request{Method: client.POST, Path: "/stamp"})
	if err != nil {
		return time.Time{}, err
	}
	return parseStamp(string(r.Body))
}

func (p *player) stampTunnel(ctx context.Context) (time.Time, error) {
	c, _, at, err := p.open(ctx)
	if err == nil {
		err = c.Close()
	}
	return at, err
}

// open opens a tunnel to the device's echo.
func (p *player) open(ctx context.Context) (net.Conn, io.Reader, time.Time, error) {
	c, err := p.conn.Tunnel(ctx, "echo")
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return nil, nil, time.Time{}, errors.Join(err, c.Close())
	}
	r := bufio.NewReaderSize(c, 1<<16)
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, nil, time.Time{}, errors.Join(err, c.Close())
	}
	at, err := parseStamp(line)
	return c, r, at, err
}

func parseStamp(s string) (time.Time, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return time.Unix(0, n), err
}

// await returns when the path is of a kind, with the time since Dial was
// called.
func (p *player) await(o awaitOrder) (time.Duration, error) {
	for end := time.Now().Add(o.Timeout); ; time.Sleep(2 * time.Millisecond) {
		if err := context.Cause(p.conn.Context()); err != nil {
			return 0, err
		}
		if p.conn.Path().Kind == o.Kind {
			return time.Since(p.began), nil
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("the path is %+v", p.conn.Path())
		}
	}
}

// echo sends bytes through a tunnel of their own and compares what comes back.
func (p *player) echo(o transferOrder) (struct{}, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, r, _, err := p.open(ctx)
	if err != nil {
		return struct{}{}, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s := &transferred{}
	return struct{}{}, carry(c, r, o, func(change func(*transferred)) { change(s) })
}

// transfer begins to send bytes through a tunnel and back. The session is to
// live as long as that takes.
func (p *player) transfer(o transferOrder) (struct{}, error) {
	c, r, _, err := p.open(p.conn.Context())
	if err != nil {
		return struct{}{}, err
	}
	p.mu.Lock()
	p.state = transferred{}
	p.mu.Unlock()
	go func() { // ends with the tunnel
		defer c.Close()
		err := carry(c, r, o, p.change)
		p.change(func(s *transferred) {
			s.Over, s.Equal = true, err == nil
			if err != nil {
				s.Error = err.Error()
			}
		})
	}()
	return struct{}{}, nil
}

func (p *player) change(f func(*transferred)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.state)
}

// carry sends and receives, and reports how it goes on.
func carry(c net.Conn, r io.Reader, o transferOrder, report func(func(*transferred))) error {
	sent, sending := sha256.New(), make(chan error, 1)
	go func() { sending <- pour(c, sent, o) }() // ends with c
	got, buf := sha256.New(), make([]byte, 1<<16)
	var received int64
	for last := time.Now(); received < o.Bytes; {
		n, err := r.Read(buf)
		got.Write(buf[:n])
		received += int64(n)
		from, now := last, time.Now()
		last = now
		report(func(s *transferred) {
			s.Received, s.Last = received, now
			if now.Sub(from) >= minGap {
				s.Gaps = append(s.Gaps, gap{from, now.Sub(from)})
			}
		})
		if err != nil {
			c.Close()
			return errors.Join(err, <-sending)
		}
	}
	if err := <-sending; err != nil {
		return err
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

// pour writes random bytes at a rate.
func pour(w io.Writer, sum hash.Hash, o transferOrder) error {
	random := rand.NewChaCha8([32]byte{byte(o.Bytes)})
	buf, began := make([]byte, 1<<15), time.Now()
	for done := int64(0); done < o.Bytes; {
		b := buf[:min(int64(len(buf)), o.Bytes-done)]
		_, _ = random.Read(b) // never fails
		sum.Write(b)
		if _, err := w.Write(b); err != nil {
			return err
		}
		done += int64(len(b))
		if o.Rate > 0 {
			time.Sleep(time.Duration(done*int64(time.Second)/o.Rate) - time.Since(began))
		}
	}
	return nil
}

// marks is a slog.Handler that remembers when each message came first.
type marks struct {
	slog.Handler
	mu   sync.Mutex
	seen []slog.Record
}

// Handle implements slog.Handler.
func (m *marks) Handle(ctx context.Context, r slog.Record) error {
	m.mu.Lock()
	m.seen = append(m.seen, r)
	m.mu.Unlock()
	return m.Handler.Handle(ctx, r)
}

func (m *marks) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = nil
}

func (m *marks) since(t time.Time) []mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []mark
	for _, r := range m.seen {
		what := r.Message
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "op" {
				what += " " + a.Value.String()
			}
			return true
		})
		list = append(list, mark{what, r.Time.Sub(t)})
	}
	return list
}
