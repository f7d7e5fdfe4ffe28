package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// Stdio returns stdin and stdout as one connection, for use as the ProxyCommand
// of ssh. CloseWrite and Close close stdout, Reset leaves it open: whoever reads
// it must not see its end before the process has said on stderr what went wrong.
func Stdio() Half { return newStdio(os.Stdin, os.Stdout) }

// stdio joins a reader and a writer. Its first Read starts a goroutine, since
// nothing else gets a Read of a terminal or file out: after Close it ends with
// the next input, or with the process.
type stdio struct {
	in  io.Reader
	out io.WriteCloser

	start   sync.Once
	chunks  chan []byte   // what was read; closed at the end of the input
	taken   chan struct{} // says that the chunk was used up
	closed  chan struct{}
	close   sync.Once
	endOut  sync.Once
	readErr error // set before chunks is closed

	mu   sync.Mutex // one Read at a time
	rest []byte
}

func newStdio(in io.Reader, out io.WriteCloser) *stdio {
	return &stdio{in: in, out: out, chunks: make(chan []byte), taken: make(chan struct{}), closed: make(chan struct{})}
}

// pump reads the input, one chunk ahead of Read at most.
func (s *stdio) pump() {
	defer close(s.chunks)
	buf := make([]byte, bufferSize)
	for {
		n, err := s.in.Read(buf)
		if n > 0 {
			select {
			case s.chunks <- buf[:n]:
			case <-s.closed:
				return
			}
			select {
			case <-s.taken:
			case <-s.closed:
				return
			}
		}
		if err != nil {
			s.readErr = err
			return
		}
	}
}

// Read implements net.Conn.
func (s *stdio) Read(p []byte) (int, error) {
	s.start.Do(func() { go s.pump() })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) == 0 {
		select {
		case b, ok := <-s.chunks:
			if !ok {
				return 0, s.readErr
			}
			s.rest = b
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		select {
		case s.taken <- struct{}{}:
		case <-s.closed:
		}
	}
	return n, nil
}

// Write implements net.Conn.
func (s *stdio) Write(p []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
		return s.out.Write(p)
	}
}

// CloseWrite closes the output.
func (s *stdio) CloseWrite() (err error) {
	s.endOut.Do(func() { err = s.out.Close() })
	return err
}

// Close ends both directions. A Read that waits returns.
func (s *stdio) Close() error {
	s.close.Do(func() { close(s.closed) })
	return s.CloseWrite()
}

// Reset ends both directions and keeps the output open, also for a later Close.
// The end of the process closes it.
func (s *stdio) Reset(latchkey.Code) {
	s.endOut.Do(func() {})
	_ = s.Close()
}

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "-" }

// LocalAddr implements net.Conn.
func (s *stdio) LocalAddr() net.Addr { return stdioAddr{} }

// RemoteAddr implements net.Conn.
func (s *stdio) RemoteAddr() net.Addr { return stdioAddr{} }

// SetDeadline fails with os.ErrNoDeadline, as it does for files.
func (s *stdio) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline fails with os.ErrNoDeadline.
func (s *stdio) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline fails with os.ErrNoDeadline.
func (s *stdio) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
