package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// SocketFile is the name of the control socket in the daemon's directory.
const SocketFile = "control.sock"

// maxSocketPath is what every supported system takes as the address of a unix
// socket (sun_path of 104 bytes with its final zero).
const maxSocketPath = 103

// dialTime bounds the wait for a daemon that has stopped accepting.
const dialTime = 2 * time.Second

func socketPath(dir string) (string, error) {
	path := filepath.Join(dir, SocketFile)
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("%s: the path is longer than the %d bytes that a socket's can have; use a shorter --dir", path, maxSocketPath)
	}
	return path, nil
}

// ErrNoDaemon reports that nobody listens on the control socket.
var ErrNoDaemon = errors.New("no daemon runs on this directory")

// dialSocket connects to the daemon on dir, or fails with ErrNoDaemon. A socket
// file that a killed daemon left behind counts as none.
func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	path, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoDaemon
	}
	d := net.Dialer{Timeout: dialTime}
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, connRefused):
		return nil, ErrNoDaemon
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return conn, nil
}

// Listen makes the control socket of dir. The caller holds the lock on the
// directory's store, so a socket file that is there belongs to nobody.
func Listen(dir string) (*Listener, error) {
	path, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 && info.Mode()&fs.ModeIrregular == 0 {
			return nil, fmt.Errorf("%s is in the way: it is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Listener{UnixListener: l}, nil
}

// A Listener accepts the daemon's own user and root, and hangs up on everybody
// else.
type Listener struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if permitted(conn) {
			return conn, nil
		}
		_ = conn.Close() // it is owed nothing
	}
}

func permitted(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	uid := -1
	var credErr error
	if err := raw.Control(func(fd uintptr) { uid, credErr = peerUID(int(fd)) }); err != nil || credErr != nil {
		return false
	}
	return uidPermitted(uid)
}

// uidPermitted reports whether processes of uid may administer this one. On
// systems without user ids both are -1.
func uidPermitted(uid int) bool { return uid == 0 || uid == os.Getuid() }
