//go:build darwin || freebsd

package admin

import "golang.org/x/sys/unix"

const connRefused = unix.ECONNREFUSED

// peerUID returns the effective user id of the process that connected (unix(4),
// LOCAL_PEERCRED), as it was at the moment of connect.
func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
