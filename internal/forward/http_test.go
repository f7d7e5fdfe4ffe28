package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
)

func newForwarder(t *testing.T, cfg Config) *Forwarder {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	f := New(cfg)
	t.Cleanup(f.Close)
	return f
}

// ask sends r along "/u/**" to the server at to.
func ask(t *testing.T, f *Forwarder, to string, r *coap.Request) *coap.Response {
	t.Helper()
	via := mustRoute(t, "/u/**", to)
	r.Path = append([]string{"u"}, r.Path...)
	judged, err := via.Resolve(r.Path, r.Query)
	if err != nil {
		t.Fatal(err)
	}
	r.Path, r.Query = []string{"not", "looked", "at"}, nil // judged alone says where to go
	return f.Do(t.Context(), via, judged, r)
}

func option(number uint16, value string) coap.Option {
	return coap.Option{Number: number, Value: []byte(value)}
}

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	f := newForwarder(t, Config{})
	for method, want := range map[coap.Code]string{
		coap.GET: "GET", coap.POST: "POST", coap.PUT: "PUT", coap.DELETE: "DELETE",
		coap.FETCH: "QUERY", coap.PATCH: "PATCH", coap.IPATCH: "PATCH",
	} {
		r := coap.NewRequest(method, "a b", "c+d")
		r.Query = []string{"x=1&2", "y=ü"}
		r.Format, r.Accept, r.Body = coap.JSON, coap.CBOR, []byte(`{"on":true}`)
		ask(t, f, server.URL+"/api", r)
		if got.Method != want || got.RequestURI != "/api/a%20b/c+d?x=1%262&y=%C3%BC" {
			t.Errorf("%s: %s %s", method, got.Method, got.RequestURI)
		}
		if got.Header.Get("Accept") != "application/cbor" || got.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: %v", method, got.Header)
		}
		if method == coap.GET || method == coap.DELETE {
			if len(body) != 0 {
				t.Errorf("%s: body %q", method, body)
			}
		} else if string(body) != `{"on":true}` || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q of type %q", method, body, got.Header.Get("Content-Type"))
		}
		if "http://"+got.Host != server.URL {
			t.Errorf("host %q", got.Host)
		}
	}
}

func TestHTTPConditions(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.Header().Set("ETag", `"a-tag-that-is-longer-than-eight"`)
	}))
	defer server.Close()
	f := newForwarder(t, Config{})
	long, _ := ask(t, f, server.URL, coap.NewRequest(coap.GET)).Option(coap.ETag)
	if len(long) != maxETag {
		t.Fatalf("tag %x", long)
	}
	for _, c := range []struct {
		method  coap.Code
		options []coap.Option
		match   string
		none    string
	}{
		{coap.GET, []coap.Option{option(coap.ETag, "abc"), option(coap.ETag, "d")}, "", `"abc", "d"`},
		{coap.GET, []coap.Option{option(coap.ETag, string(long))}, "", `"a-tag-that-is-longer-than-eight"`},
		{coap.GET, []coap.Option{option(coap.ETag, "\x00\x01")}, "", ""},
		{coap.PUT, []coap.Option{option(coap.IfMatch, string(long))}, `"a-tag-that-is-longer-than-eight"`, ""},
		{coap.PUT, []coap.Option{option(coap.IfMatch, "")}, "*", ""},
		{coap.PUT, []coap.Option{option(coap.IfMatch, "\x00"), option(coap.IfMatch, "x")}, `"x"`, ""},
		{coap.PUT, []coap.Option{option(coap.IfNoneMatch, "")}, "", "*"},
	} {
		r := coap.NewRequest(c.method)
		r.Options = c.options
		ask(t, f, server.URL, r)
		if got.Get("If-Match") != c.match || got.Get("If-None-Match") != c.none {
			t.Errorf("%s %v: If-Match %s, If-None-Match %s", c.method, c.options, got.Get("If-Match"), got.Get("If-None-Match"))
		}
	}
	got = nil
	r := coap.NewRequest(coap.PUT)
	r.Options = []coap.Option{option(coap.IfMatch, "\x00")}
	if answer := ask(t, f, server.URL, r); answer.Code != coap.PreconditionFailed || got != nil {
		t.Errorf("unknown tag: %s, server asked: %v", answer.Code, got != nil)
	}
}

func TestHTTPStatus(t *testing.T) {
	type row struct {
		method coap.Code
		status int
		want   coap.Code
	}
	rows := []row{
		{coap.GET, 200, coap.Content},
		{coap.FETCH, 200, coap.Content},
		{coap.GET, 204, coap.Content},
		{coap.GET, 201, coap.BadGateway},
		{coap.GET, 206, coap.BadGateway},
		{coap.GET, 304, coap.BadGateway},
		{coap.POST, 200, coap.Changed},
		{coap.POST, 201, coap.Created},
		{coap.POST, 202, coap.Changed},
		{coap.POST, 204, coap.Changed},
		{coap.PUT, 200, coap.Changed},
		{coap.PUT, 201, coap.Created},
		{coap.PATCH, 204, coap.Changed},
		{coap.IPATCH, 200, coap.Changed},
		{coap.DELETE, 200, coap.Deleted},
		{coap.DELETE, 204, coap.Deleted},
		{coap.DELETE, 404, coap.Deleted},
		{coap.DELETE, 410, coap.Deleted},
		{coap.DELETE, 403, coap.Forbidden},
		{coap.PUT, 304, coap.BadGateway},
	}
	for status, want := range map[int]coap.Code{
		300: coap.BadGateway, 301: coap.BadGateway, 302: coap.BadGateway, 303: coap.BadGateway, 307: coap.BadGateway, 308: coap.BadGateway,
		400: coap.BadRequest, 401: coap.Unauthorized, 402: coap.BadRequest, 403: coap.Forbidden, 404: coap.NotFound,
		405: coap.MethodNotAllowed, 406: coap.NotAcceptable, 407: coap.BadGateway, 408: coap.GatewayTimeout, 409: coap.Conflict,
		410: coap.NotFound, 412: coap.PreconditionFailed, 413: coap.EntityTooLarge, 415: coap.UnsupportedFormat, 418: coap.BadRequest,
		422: coap.Unprocessable, 429: coap.TooManyRequests, 451: coap.Forbidden, 500: coap.InternalServerError, 501: coap.NotImplemented,
		502: coap.BadGateway, 503: coap.ServiceUnavailable, 504: coap.GatewayTimeout, 505: coap.InternalServerError, 599: coap.InternalServerError,
		600: coap.BadGateway, 999: coap.BadGateway,
	} {
		rows = append(rows, row{coap.GET, status, want}, row{coap.POST, status, want})
	}
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	f := newForwarder(t, Config{})
	for _, r := range rows {
		status = r.status
		answer := ask(t, f, server.URL, coap.NewRequest(r.method))
		if answer.Code != r.want {
			t.Errorf("%s and status %d: %s, want %s", r.method, r.status, answer.Code, r.want)
		}
		if code, ok := coap.CodeOf(answer); ok {
			t.Errorf("%s and status %d: the device's own code %s on a server's answer", r.method, r.status, code)
		}
	}
}

func TestHTTPAnswer(t *testing.T) {
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for name, c := range map[string]struct {
		header http.Header
		status int
		body   string
		accept coap.Format
		want   string // code, format, options by number, body
	}{
		"json":              {http.Header{"Content-Type": {"application/json; charset=UTF-8"}}, 200, "{}", coap.NoFormat, `2.05 50 14= "{}"`},
		"text":              {http.Header{"Content-Type": {"text/plain"}}, 200, "hä", coap.NoFormat, `2.05 0 14= "hä"`},
		"latin text":        {http.Header{"Content-Type": {"text/plain; charset=iso-8859-1"}}, 200, "h\xe4", coap.NoFormat, `2.05 -1 14= "h\xe4"`},
		"text that is not":  {http.Header{"Content-Type": {"text/plain"}}, 200, "h\xe4", coap.NoFormat, `2.05 -1 14= "h\xe4"`},
		"html":              {http.Header{"Content-Type": {"text/html"}}, 200, "<p>", coap.NoFormat, `2.05 -1 14= "<p>"`},
		"cose":              {http.Header{"Content-Type": {`application/cose; cose-type="cose-sign1"`}}, 200, "x", coap.NoFormat, `2.05 18 14= "x"`},
		"empty":             {http.Header{"Content-Type": {"text/plain"}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"other than wanted": {http.Header{"Content-Type": {"text/html"}}, 200, "<p>", coap.JSON, `4.06 -1 ""`},
		"as wanted":         {http.Header{"Content-Type": {"application/json"}}, 200, "1", coap.JSON, `2.05 50 14= "1"`},
		"fresh":             {http.Header{"Cache-Control": {"public, max-age=300"}}, 200, "", coap.NoFormat, `2.05 -1 14=012c ""`},
		"aged":              {http.Header{"Cache-Control": {"max-age=300"}, "Age": {"299"}}, 200, "", coap.NoFormat, `2.05 -1 14=01 ""`},
		"stale":             {http.Header{"Cache-Control": {"max-age=300"}, "Age": {"400"}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"no-store":          {http.Header{"Cache-Control": {"max-age=300, no-store"}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"nonsense age":      {http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"a year at most":    {http.Header{"Cache-Control": {"max-age=999999999"}}, 200, "", coap.NoFormat, `2.05 -1 14=01e13380 ""`},
		"expired":           {http.Header{"Expires": {"0"}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"etag":              {http.Header{"Etag": {`"v1"`}}, 200, "", coap.NoFormat, `2.05 -1 4=7631 14= ""`},
		"bad etag":          {http.Header{"Etag": {`v1`}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"empty etag":        {http.Header{"Etag": {`""`}}, 200, "", coap.NoFormat, `2.05 -1 14= ""`},
		"retry":             {http.Header{"Retry-After": {"7"}}, 503, "", coap.NoFormat, `5.03 -1 14=07 ""`},
		"error with type":   {http.Header{"Content-Type": {"application/json"}}, 400, "{}", coap.NoFormat, `4.00 50 "{}"`},
		"error page":        {http.Header{"Content-Type": {"text/html"}}, 404, "<p>", coap.NoFormat, `4.04 -1 ""`},
		"error and accept":  {http.Header{"Content-Type": {"application/json"}}, 409, "{}", coap.CBOR, `4.09 50 "{}"`},
		"compressed":        {http.Header{"Content-Encoding": {"gzip"}}, 200, "xx", coap.NoFormat, `5.02 -1 ""`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header()[k] = v
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}))
			defer server.Close()
			r := coap.NewRequest(coap.GET, "x")
			r.Accept = c.accept
			if got := describe(ask(t, newForwarder(t, Config{}), server.URL, r)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	if n := freshness(http.Header{"Expires": {date}}, time.Now()); n < 3590 || n > 3600 {
		t.Errorf("Expires in an hour: %d s", n)
	}
	if n, ok := maxAge(coap.ServiceUnavailable, http.Header{"Retry-After": {date}}, time.Now()); !ok || n < 3590 || n > 3600 {
		t.Errorf("Retry-After in an hour: %d s", n)
	}
}

func describe(r *coap.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d ", r.Code, r.Format)
	for _, o := range r.Options {
		fmt.Fprintf(&b, "%d=%x ", o.Number, o.Value)
	}
	fmt.Fprintf(&b, "%q", r.Body)
	return b.String()
}

func TestHTTPValidation(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `W/"weak"`)
		w.Header().Set("Cache-Control", "max-age=9")
		if r.Header.Get("If-None-Match") == `W/"weak"` {
			w.WriteHeader(http.StatusNotModified)
		}
	}))
	defer server.Close()
	f := newForwarder(t, Config{})
	tag, ok := ask(t, f, server.URL, coap.NewRequest(coap.GET)).Option(coap.ETag)
	if !ok {
		t.Fatal("no tag")
	}
	r := coap.NewRequest(coap.GET)
	r.Options = []coap.Option{{Number: coap.ETag, Value: tag}}
	answer := ask(t, f, server.URL, r)
	if back, _ := answer.Option(coap.ETag); answer.Code != coap.Valid || !bytes.Equal(back, tag) {
		t.Errorf("%s", describe(answer))
	}
}

func TestHTTPLocation(t *testing.T) {
	for location, want := range map[string][]string{
		"/api/items/7":                     {"u", "items", "7"},
		"items/7?v=1&w":                    {"u", "items", "7", "?v=1", "?w"},
		"/api/a%20b":                       {"u", "a b"},
		"/other":                           nil,
		"../x":                             nil,
		"http://elsewhere.test/api/":       nil,
		"":                                 nil,
		"/api/" + strings.Repeat("x", 256): nil,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if location != "" {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(http.StatusCreated)
		}))
		answer := ask(t, newForwarder(t, Config{}), server.URL+"/api", coap.NewRequest(coap.POST, "items"))
		server.Close()
		var got []string
		for _, o := range answer.Options {
			got = append(got, strings.Repeat("?", int(o.Number/coap.LocationQuery))+string(o.Value))
		}
		if answer.Code != coap.Created || !slices.Equal(got, want) {
			t.Errorf("%q: %s %q, want %q", location, answer.Code, got, want)
		}
	}
}

// A redirect leads where nobody judged: not even to the same host.
func TestHTTPFollowsNoRedirect(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/secret", http.StatusFound)
	}))
	defer server.Close()
	if answer := ask(t, newForwarder(t, Config{}), server.URL, coap.NewRequest(coap.GET, "a")); answer.Code != coap.BadGateway || asked != 1 {
		t.Errorf("%s after %d requests", answer.Code, asked)
	}
}

func TestHTTPIgnoresProxyEnvironment(t *testing.T) {
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	if answer := ask(t, newForwarder(t, Config{}), server.URL, coap.NewRequest(coap.GET)); answer.Code != coap.Content {
		t.Errorf("%s", answer.Code)
	}
	if transport := New(Config{}).http.client.Transport.(*http.Transport); transport.Proxy != nil {
		t.Error("the transport asks for a proxy") // loopback is never proxied, so the request alone proves little
	}
}

func TestHTTPRefusals(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	f := newForwarder(t, Config{MaxBody: 100})
	for name, c := range map[string]struct {
		change func(*coap.Request)
		want   coap.Code
	}{
		"Proxy-Uri":            {func(r *coap.Request) { r.Options = []coap.Option{option(35, "http://evil/")} }, coap.ProxyingNotSupported},
		"Proxy-Scheme":         {func(r *coap.Request) { r.Options = []coap.Option{option(39, "http")} }, coap.ProxyingNotSupported},
		"unknown critical":     {func(r *coap.Request) { r.Options = []coap.Option{option(2049, "")} }, coap.BadOption},
		"unknown unsafe":       {func(r *coap.Request) { r.Options = []coap.Option{option(2050, "")} }, coap.BadOption},
		"unknown format":       {func(r *coap.Request) { r.Format = 65000 }, coap.UnsupportedFormat},
		"unknown accept":       {func(r *coap.Request) { r.Accept = 65000 }, coap.NotAcceptable},
		"a large body":         {func(r *coap.Request) { r.Body = make([]byte, 101) }, coap.EntityTooLarge},
		"a method without map": {func(r *coap.Request) { r.Code = 30 }, coap.MethodNotAllowed},
	} {
		r := coap.NewRequest(coap.POST)
		r.Body = []byte("x")
		c.change(r)
		if answer := ask(t, f, server.URL, r); answer.Code != c.want || asked {
			t.Errorf("%s: %s, want %s; server asked: %v", name, answer.Code, c.want, asked)
		}
	}
	r := coap.NewRequest(coap.POST)
	r.Options = []coap.Option{option(coap.URIHost, "x"), option(2052, "elective and safe"), option(coap.Echo, "e")}
	if answer := ask(t, f, server.URL, r); answer.Code != coap.Changed || !asked {
		t.Errorf("harmless options: %s", answer.Code)
	}
}

func TestHTTPFailures(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	hang := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(hang)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 2<<20)) }))
	defer large.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Write([]byte("half"))
	}))
	defer cut.Close()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for name, c := range map[string]struct {
		to   string
		code coap.Code
		why  latchkey.Code
	}{
		"refused":   {"http://" + refused.Addr().String(), coap.BadGateway, latchkey.CodeTargetRefused},
		"silent":    {silent.URL, coap.GatewayTimeout, latchkey.CodeTargetTimeout},
		"too large": {large.URL, coap.BadGateway, latchkey.CodeTooLarge},
		"cut off":   {cut.URL, coap.BadGateway, latchkey.CodeTargetUnreachable},
		"untrusted": {untrusted.URL, coap.BadGateway, latchkey.CodeTargetUnreachable},
	} {
		timeout := 10 * time.Second
		if name == "silent" {
			timeout = 50 * time.Millisecond
		}
		answer := ask(t, newForwarder(t, Config{Timeout: timeout}), c.to, coap.NewRequest(coap.GET))
		if why, _ := coap.CodeOf(answer); answer.Code != c.code || why != c.why {
			t.Errorf("%s: %s %s, want %s %s", name, answer.Code, why, c.code, c.why)
		}
	}
}

func TestHTTPSChecksTheServer(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secure") }))
	defer server.Close()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	answer := ask(t, newForwarder(t, Config{RootCAs: roots}), server.URL, coap.NewRequest(coap.GET))
	if answer.Code != coap.Content || string(answer.Body) != "secure" {
		t.Errorf("%s", describe(answer))
	}
}

func TestSubscribeTowardsHTTPAnswersOnce(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "now") }))
	defer server.Close()
	f := newForwarder(t, Config{})
	via := mustRoute(t, "/u/**", server.URL)
	judged, _ := via.Resolve([]string{"u"}, nil)
	var got []*coap.Response
	if err := f.Subscribe(t.Context(), via, judged, coap.NewRequest(coap.GET), func(r *coap.Response) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Observe != coap.NoObserve || string(got[0].Body) != "now" {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Subscribe(ctx, via, judged, coap.NewRequest(coap.GET), func(*coap.Response) { t.Error("told after the end") }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What is not on the route is not contacted, whoever asks.
func TestDoRefusesForeignURLs(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	f := newForwarder(t, Config{})
	answer := f.Do(t.Context(), mustRoute(t, "/u/**", "http://other.test"), server.URL+"/", coap.NewRequest(coap.GET))
	if why, _ := coap.CodeOf(answer); answer.Code != coap.Forbidden || why != latchkey.CodeForbidden || asked {
		t.Errorf("%s; server asked: %v", describe(answer), asked)
	}
}

func TestETagMemoryIsBounded(t *testing.T) {
	var e etags
	for i := range 3 * maxETags {
		if _, ok := e.toCoAP(fmt.Sprintf(`"long-enough-to-be-hashed-%d"`, i)); !ok {
			t.Fatal(i)
		}
	}
	if len(e.long) != maxETags {
		t.Errorf("%d tags", len(e.long))
	}
}

func FuzzETag(f *testing.F) {
	for _, s := range []string{`"a"`, `W/"a"`, `"123456789"`, `""`, `W/`, "\"\x00\"", `"ä"`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		var e etags
		short, ok := e.toCoAP(tag)
		if !ok {
			return
		}
		if len(short) == 0 || len(short) > maxETag {
			t.Fatalf("%q: %x", tag, short)
		}
		if back, ok := e.toHTTP(short); !ok || back != tag {
			t.Fatalf("%q came back as %q", tag, back)
		}
	})
}
