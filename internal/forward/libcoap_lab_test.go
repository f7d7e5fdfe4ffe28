//go:build lab

package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/internal/coap"
)

// libcoap starts a CoAP server that nobody here wrote and returns its URL.
func libcoap(t *testing.T, f *Forwarder, args ...string) string {
	t.Helper()
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().(*net.UDPAddr)
	free.Close()
	args = append([]string{"-A", "127.0.0.1", "-p", strconv.Itoa(address.Port), "-v", "3", "-d", "10"}, args...)
	server := exec.Command("coap-server-notls", args...)
	var output bytes.Buffer
	server.Stdout, server.Stderr = &output, &output
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("coap-server-notls %q:\n%s", args, &output)
		}
	})
	to := "coap://" + address.String()
	eventually(t, "coap-server-notls to answer", func() bool {
		return ask(t, f, to, coap.NewRequest(coap.GET)).Code == coap.Content
	})
	return to
}

func TestLibcoapServer(t *testing.T) {
	f := newForwarder(t, Config{})
	to := libcoap(t, f)
	links := ask(t, f, to, coap.NewRequest(coap.GET, ".well-known", "core"))
	if links.Format != coap.LinkFormat || !bytes.Contains(links.Body, []byte("</time>")) {
		t.Errorf("links: %s", describe(links))
	}
	ticks := coap.NewRequest(coap.GET, "time")
	ticks.Query = []string{"ticks"}
	if answer := ask(t, f, to, ticks); answer.Code != coap.Content || bytes.ContainsAny(answer.Body, ": ") || len(answer.Body) < 9 {
		t.Errorf("query: %s", describe(answer))
	}
	body := make([]byte, 20_001)
	_, _ = rand.Read(body)
	for _, want := range []coap.Code{coap.Created, coap.Changed} {
		put := coap.NewRequest(coap.PUT, "ä b", "c&d")
		put.Format, put.Body = coap.OctetStream, body
		if answer := ask(t, f, to, put); answer.Code != want {
			t.Fatalf("PUT in blocks: %s, want %s", describe(answer), want)
		}
		if answer := ask(t, f, to, coap.NewRequest(coap.GET, "ä b", "c&d")); answer.Format != coap.OctetStream || !bytes.Equal(answer.Body, body) {
			t.Fatalf("GET in blocks: %s, %d bytes", answer.Code, len(answer.Body))
		}
		body = append(body, body...)
	}
	if answer := ask(t, f, to, coap.NewRequest(coap.DELETE, "ä b", "c&d")); answer.Code != coap.Deleted {
		t.Errorf("DELETE: %s", describe(answer))
	}
	if answer := ask(t, f, to, coap.NewRequest(coap.GET, "ä b", "c&d")); answer.Code != coap.NotFound {
		t.Errorf("GET of what is gone: %s", describe(answer))
	}
	if answer := ask(t, f, to, coap.NewRequest(coap.POST, "time")); answer.Code != coap.MethodNotAllowed {
		t.Errorf("POST where there is none: %s", describe(answer))
	}
}

// Two observers, one registration at the server, and large states in blocks.
func TestLibcoapObserve(t *testing.T) {
	f := newForwarder(t, Config{})
	to := libcoap(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := watch(ctx, t, f, to, "example_data")
	first := next(t, one)
	two := watch(ctx, t, f, to, "example_data")
	if r := next(t, two); first.Observe < 0 || r.Observe < 0 || !bytes.Equal(r.Body, first.Body) {
		t.Fatalf("%s and %s", describe(first), describe(r))
	}
	for i, size := range []int{10, 3000, 1} {
		put := coap.NewRequest(coap.PUT, "example_data")
		put.Format, put.Body = coap.TextPlain, bytes.Repeat([]byte{byte('a' + i)}, size)
		if answer := ask(t, f, to, put); answer.Code != coap.Changed {
			t.Fatalf("PUT: %s", describe(answer))
		}
		for _, states := range []<-chan *coap.Response{one, two} {
			if !settles(states, put.Body) {
				t.Fatalf("the state of %d bytes did not come", size)
			}
		}
	}
	cancel()
	for range one { // until Subscribe has returned
	}
	for range two {
	}
}

// settles reports whether the state becomes want; states between may show.
func settles(states <-chan *coap.Response, want []byte) bool {
	deadline := time.After(10 * time.Second)
	for {
		select {
		case r := <-states:
			if bytes.Equal(r.Body, want) {
				return true
			}
		case <-deadline:
			return false
		}
	}
}

// Some datagrams of the server are lost.
func TestLibcoapWithLoss(t *testing.T) {
	f := newForwarder(t, Config{Timeout: 2 * time.Minute})
	to := libcoap(t, f, "-l", "3,6,10")
	body := bytes.Repeat([]byte("0123456789"), 500)
	put := coap.NewRequest(coap.PUT, "x")
	put.Format, put.Body = coap.OctetStream, body
	if answer := ask(t, f, to, put); answer.Code.Class() != 2 { // a repeated PUT finds what the first one made
		t.Fatalf("PUT: %s", describe(answer))
	}
	if answer := ask(t, f, to, coap.NewRequest(coap.GET, "x")); !bytes.Equal(answer.Body, body) {
		t.Errorf("GET: %s, %d bytes", answer.Code, len(answer.Body))
	}
}
