package webhook

import (
	"errors"
	"net/url"
	"path"
	"strings"
)

const (
	defaultPath = "/v1/data/latchkey/allow"
	maxSocket   = 103 // bytes of a socket's path, on every system
)

// An address is where the program listens.
type address struct {
	url    string // to post to
	socket string // "": TCP
}

func parseURL(s string) (address, error) {
	if rest, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(rest)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return address{}, errors.New("the URL cannot be read") // url.Parse would repeat it
	case u.Scheme == "http":
		return address{}, errors.New("http is not protected; a program on this machine can be asked by unix:/SOCKET, one elsewhere by https://HOST/PATH")
	case u.Scheme != "https":
		return address{}, errors.New("the URL must be unix:/SOCKET, unix:/SOCKET:/PATH or https://HOST/PATH")
	case u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return address{}, errors.New("the URL must be https://HOST/PATH, without user and fragment")
	}
	if u.Path == "" {
		u.Path = defaultPath
	}
	return address{url: u.String()}, nil
}

// parseUnix reads /SOCKET or /SOCKET:/PATH. The host is not looked up; it only
// stands in the header that HTTP demands.
func parseUnix(s string) (address, error) {
	if strings.HasPrefix(s, "///") { // as targets of services are written
		s = s[2:]
	}
	socket, target, given := strings.Cut(s, ":")
	if !given {
		target = defaultPath
	}
	switch {
	case !path.IsAbs(socket) || strings.HasPrefix(socket, "//") || strings.ContainsRune(socket, 0):
		return address{}, errors.New("the path of a Unix socket begins with one slash")
	case len(socket) > maxSocket:
		return address{}, errors.New("the path of a Unix socket is too long for the system")
	case !strings.HasPrefix(target, "/"):
		return address{}, errors.New("what follows unix:/SOCKET: is a path that begins with a slash")
	}
	u, err := url.Parse("http://localhost" + target)
	if err != nil || u.Fragment != "" {
		return address{}, errors.New("the path after the socket cannot be read")
	}
	return address{url: u.String(), socket: socket}, nil
}
