package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"time"
)

// A target is a server in this process that a service of the device leads to.
type target struct {
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// listenTCP and listenUnix start a target whose connections are handled by
// handle, on a goroutine each. Whoever starts one must close it.
func listenTCP(handle func(net.Conn) error) (*target, error) {
	return listen("tcp", "127.0.0.1:0", handle)
}

func listenUnix(dir, name string, handle func(net.Conn) error) (*target, error) {
	return listen("unix", filepath.Join(dir, name), handle)
}

func listen(network, addr string, handle func(net.Conn) error) (*target, error) {
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	t := &target{listener: l, conns: make(map[net.Conn]struct{})}
	t.work.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.mu.Lock()
			t.conns[conn] = struct{}{}
			t.mu.Unlock()
			t.work.Go(func() { t.serve(conn, handle) })
		}
	})
	return t, nil
}

func (t *target) serve(conn net.Conn, handle func(net.Conn) error) {
	_ = handle(conn) // the other end of the tunnel judges
	_ = conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

// service is how the daemon is told of the target.
func (t *target) service(name string) string {
	addr := t.listener.Addr()
	return fmt.Sprintf("%s=%s://%s", name, addr.Network(), addr)
}

// close ends the listener and all connections, and waits for them.
func (t *target) close() {
	_ = t.listener.Close()
	t.mu.Lock()
	for conn := range t.conns {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.work.Wait()
}

// closeWriter is a connection that can end one direction.
type closeWriter interface{ CloseWrite() error }

func closeWrite(conn net.Conn) error {
	c, ok := conn.(closeWriter)
	if !ok {
		return errors.New("the connection has no half-close")
	}
	return c.CloseWrite()
}

// echo returns what it gets.
func echo(conn net.Conn) error {
	if _, err := io.Copy(conn, conn); err != nil {
		return err
	}
	return closeWrite(conn)
}

// digest reads to the end and answers with the SHA-256 of it.
func digest(conn net.Conn) error {
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, conn, make([]byte, chunkSize)); err != nil {
		return err
	}
	_, err := conn.Write(sum.Sum(nil))
	return err
}

// An order asks a source for bytes.
type order struct {
	Seed  uint64 // of pattern
	Bytes uint64
	Rate  uint64 // bytes per second; 0: as fast as they go
}

func (o order) send(w io.Writer) error { return binary.Write(w, binary.BigEndian, o) }

// source sends what an order at the beginning of the connection asks for.
func source(conn net.Conn) error {
	var o order
	if err := binary.Read(conn, binary.BigEndian, &o); err != nil {
		return err
	}
	if err := o.fill(conn); err != nil {
		return err
	}
	return closeWrite(conn)
}

// chunkSize is how much is written at once, pacedSize how much when a rate is to
// be kept: what is held back must not come in bursts that look like full speed.
const (
	chunkSize = 64 << 10
	pacedSize = 16 << 10
)

// fill writes the ordered bytes, no faster than ordered.
func (o order) fill(w io.Writer) error {
	size := uint64(chunkSize)
	if o.Rate > 0 {
		size = pacedSize
	}
	from, chunk, began := pattern(o.Seed), make([]byte, size), time.Now()
	for sent := uint64(0); sent < o.Bytes; {
		n := min(size, o.Bytes-sent)
		if _, err := io.ReadFull(from, chunk[:n]); err != nil {
			return err
		}
		if _, err := w.Write(chunk[:n]); err != nil {
			return err
		}
		sent += n
		if o.Rate > 0 {
			due := time.Duration(float64(sent) / float64(o.Rate) * float64(time.Second))
			time.Sleep(due - time.Since(began))
		}
	}
	return nil
}

// pattern is an endless stream of bytes that a seed determines.
func pattern(seed uint64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// patternSum is the SHA-256 of the first n bytes of a pattern.
func patternSum(seed uint64, n int64) []byte {
	sum := sha256.New()
	_, _ = io.CopyN(sum, pattern(seed), n) // neither end fails
	return sum.Sum(nil)
}

// errWrongBytes is the worst that a tunnel can do.
var errWrongBytes = errors.New("other bytes arrived than were sent")

// check reads conn to its end and compares with n bytes of a pattern.
func check(conn io.Reader, seed uint64, n int64) error {
	sum := sha256.New()
	got, err := io.CopyBuffer(sum, onlyReader{conn}, make([]byte, chunkSize))
	if err != nil {
		return err
	}
	if got != n || !bytes.Equal(sum.Sum(nil), patternSum(seed, n)) {
		return fmt.Errorf("%w: %d bytes of %d", errWrongBytes, got, n)
	}
	return nil
}

// onlyReader hides the other methods of a connection, so that the buffer of
// CopyBuffer is used.
type onlyReader struct{ io.Reader }
