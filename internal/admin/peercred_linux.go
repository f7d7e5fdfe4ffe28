package admin

import "golang.org/x/sys/unix"

const connRefused = unix.ECONNREFUSED

// peerUID returns the user id of the process that connected (unix(7),
// SO_PEERCRED). It is that of the moment of connect and cannot be forged.
func peerUID(fd int) (int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}
