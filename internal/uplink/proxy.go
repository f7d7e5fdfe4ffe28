package uplink

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// maxProxyAnswer bounds the head of a proxy's answer, in bytes.
const maxProxyAnswer = 16 << 10

var errProxySetting = errors.New("not a URL")

// throughProxy returns a connection to addr, "host:port", that an HTTP proxy
// made for us (RFC 9110 section 9.3.6). Its error is a *ProxyError.
func throughProxy(ctx context.Context, proxy *url.URL, addr string) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	if port == "" {
		return nil, &ProxyError{Proxy: proxy.Host, Cause: fmt.Errorf("scheme %q is not supported", proxy.Scheme)}
	}
	if p := proxy.Port(); p != "" {
		port = p
	}
	at := net.JoinHostPort(proxy.Hostname(), port)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, &ProxyError{Proxy: at, Cause: err}
	}
	raw := conn
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) }) // ends what is under way
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	status, err := ask(conn, proxy, addr)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil || status != http.StatusOK {
		_ = conn.Close() // nothing of ours was sent yet
		return nil, &ProxyError{Proxy: at, Status: status, Cause: err}
	}
	return conn, nil
}

// ask sends the request to connect and returns the status of the answer.
func ask(conn net.Conn, proxy *url.URL, addr string) (int, error) {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {"latchkey"}}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		both := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		r.Header.Set("Proxy-Authorization", "Basic "+both)
	}
	if err := r.Write(conn); err != nil {
		return 0, err
	}
	in := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	answer, err := http.ReadResponse(in, r)
	if err != nil {
		return 0, fmt.Errorf("%w: no answer of a proxy", latchkey.ErrProtocol)
	}
	if answer.StatusCode == http.StatusOK && in.Buffered() > 0 {
		return 0, fmt.Errorf("%w: the proxy speaks first", latchkey.ErrProtocol)
	}
	return answer.StatusCode, nil
}
