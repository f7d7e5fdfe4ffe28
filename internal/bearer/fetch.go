package bearer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	fetchTimeout = 3 * time.Second
	dialTimeout  = time.Second // per address
	maxBody      = 64 << 10
	maxRedirects = 3
	maxAddresses = 8 // of one host that are tried
)

// A fetcher gets one document from one host.
type fetcher struct {
	location *url.URL
	client   *http.Client
	resolve  func(context.Context, string) ([]netip.Addr, error)
	allowed  func(netip.Addr) bool
}

func newFetcher(location *url.URL, allowPrivate bool, o Options) *fetcher {
	f := &fetcher{
		location: location,
		resolve:  o.Resolve,
		allowed:  func(a netip.Addr) bool { return allowed(a, allowPrivate, o.Loopback) },
	}
	if location.Scheme == "http" { // New has asked for Options.Loopback
		f.allowed = func(a netip.Addr) bool { return a.Unmap().IsLoopback() }
	}
	if f.resolve == nil {
		f.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	f.client = &http.Client{
		Transport: &http.Transport{ // no Proxy: it would dial for us, unchecked
			DialContext:            f.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: f.checkRedirect,
	}
	return f
}

// fetch gets the document, in at most fetchTimeout and maxBody bytes.
func (f *fetcher) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.location.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", response.StatusCode)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, fmt.Errorf("the answer is encoded as %q, which was not asked for", encoding)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxBody)
	}
	return body, nil
}

func (f *fetcher) checkRedirect(next *http.Request, via []*http.Request) error {
	if next.URL.Scheme != f.location.Scheme || next.URL.Host != f.location.Host || next.URL.User != nil {
		return errors.New("a redirect to another host is not followed")
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	return nil
}

// dial connects to an address of the host that was looked at, so that the name
// cannot stand for another one a moment later.
func (f *fetcher) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	addrs, err := f.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	failed := fmt.Errorf("%s has no address that may be used", host)
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		if !f.allowed(a) {
			continue
		}
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, failed
}

func (f *fetcher) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return f.resolve(ctx, host)
}
