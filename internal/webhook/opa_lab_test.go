//go:build lab

package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

const opaModule = "github.com/open-policy-agent/opa@v1.22.2"

// buildOPA builds Open Policy Agent. The first time takes a minute or two.
func buildOPA(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "install", opaModule)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", opaModule, err, out)
	}
	return filepath.Join(dir, "opa")
}

// block returns what docs/authorize.md shows in a language.
func block(t *testing.T, language, with string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/authorize.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		if strings.Contains(string(m[1]), with) {
			return string(m[1])
		}
	}
	t.Fatalf("the document has no %s with %q", language, with)
	return ""
}

// runOPA serves the document's policy at addr until the test ends or stop.
func runOPA(t *testing.T, bin, network, addr string, args ...string) (stop func()) {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "latchkey.rego")
	if err := os.WriteFile(policy, []byte(block(t, "rego", "package latchkey")), 0o600); err != nil {
		t.Fatal(err)
	}
	flag := addr
	if network == "unix" {
		flag = "unix://" + addr
	}
	cmd := exec.Command(bin, append(append([]string{"run", "--server", "--disable-telemetry", "--addr", flag}, args...), policy)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("opa: %s", out.String())
		}
	})
	t.Cleanup(stop)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial(network, addr)
		if err == nil {
			_ = conn.Close()
			return stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("opa does not listen: %v", err)
		}
	}
}

func TestOPA(t *testing.T) {
	bin := buildOPA(t)
	t.Run("socket", func(t *testing.T) { testSocket(t, bin) })
	t.Run("TLS", func(t *testing.T) { testTLS(t, bin) })
}

func testSocket(t *testing.T, bin string) {
	socket := filepath.Join(t.TempDir(), "opa.sock")
	stop := runOPA(t, bin, "unix", socket)
	c := open(t, Config{URL: "unix:" + socket, Timeout: patient})
	morning := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	request := func(user, role string, action acl.Action, resource string, path acl.PathKind) *acl.Request {
		return &acl.Request{
			Device: latchkey.DeviceID{Product: "acme", Device: "gw1"}, Peer: peer, User: user, Role: role, Action: action, Resource: resource,
			Path: path, Source: netip.MustParseAddr("192.168.1.20"), Time: morning,
		}
	}
	technician := func(groups any, scope []string) *acl.Request {
		r := request("", "technician", acl.TunnelOpen, "ssh", acl.PathRelay)
		r.Claims = map[string]any{"groups": groups}
		r.Token = &acl.Token{Issuer: "https://idp.example", Role: "technician", Scope: scope, Expires: morning.Add(time.Hour)}
		return r
	}
	at := func(r *acl.Request, now time.Time) *acl.Request { r.Time = now; return r }
	door := func() *acl.Request { return request("bob", "user", acl.CoAPPut, "/door", acl.PathRelay) }
	in := []any{"guests", "technicians"}
	for name, test := range map[string]struct {
		r    *acl.Request
		want bool
	}{
		"stranger":                  {request("", "unpaired", acl.CoAPGet, "/light/1", acl.PathLocal), false},
		"stranger's modes":          {request("", "unpaired", acl.PairRead, "/pairing", acl.PathLocal), true},
		"first owner":               {request("", "unpaired", acl.PairLocalInitial, "local-initial", acl.PathLocal), true},
		"first owner from afar":     {request("", "unpaired", acl.PairLocalInitial, "local-initial", acl.PathRelay), false},
		"self":                      {request("bob", "guest", acl.SelfRead, "bob", acl.PathRelay), true},
		"self of nobody":            {request("", "unpaired", acl.SelfRead, "", acl.PathRelay), false},
		"administrator":             {request("alice", "admin", acl.UserRemove, "bob", acl.PathDirect), true},
		"administrator by relay":    {request("alice", "admin", acl.UserRemove, "bob", acl.PathRelay), false},
		"administrator by no path":  {request("alice", "admin", acl.UserRemove, "bob", ""), false},
		"light":                     {request("bob", "user", acl.CoAPPut, "/light/1", acl.PathRelay), true},
		"light's neighbour":         {request("bob", "user", acl.CoAPPut, "/lights", acl.PathRelay), false},
		"light removed":             {request("bob", "user", acl.CoAPDelete, "/light/1", acl.PathRelay), false},
		"light of a guest":          {request("eve", "guest", acl.CoAPPut, "/light/1", acl.PathRelay), false},
		"door by day":               {door(), true},
		"door by night":             {at(door(), morning.Add(12*time.Hour)), false},
		"door without a clock":      {at(door(), time.Time{}), false},
		"technician":                {technician(in, nil), true},
		"technician in scope":       {technician(in, []string{"openid", "tunnel:*"}), true},
		"technician out of scope":   {technician(in, []string{"coap:get"}), false},
		"technician with no scope":  {technician(in, []string{}), false},
		"technician by a text":      {technician("technicians", nil), false},
		"technician of other group": {technician([]any{"guests"}, nil), false},
		"quotes in a name":          {request("bob", "user", acl.CoAPPut, `/x","resource":"/light/1`, acl.PathLocal), false},
	} {
		if err := c.Ask(t.Context(), test.r); (err == nil) != test.want || err != nil && latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}

	everything := request("alice", "admin", acl.CoAPGet, "/light/1", acl.PathLocal)
	for _, where := range []string{":/v1/data/latchkey/none", ":/v1/data/latchkey", ":/v1/data", ":/v1/data/system/main", ":/", ":/health", ":/v0/data/latchkey/allow", ":/v1/policies", ":/none"} {
		if err := open(t, Config{URL: "unix:" + socket + where, Timeout: patient}).Ask(t.Context(), everything); err == nil {
			t.Errorf("%s is a yes", where)
		}
	}
	if err := open(t, Config{URL: "unix:" + socket + ":/v1/data/latchkey/allow?metrics&instrument", Timeout: patient}).Ask(t.Context(), everything); err != nil {
		t.Errorf("with metrics: %v", err)
	}
	curl(t, socket)
	stop()
	if err := c.Ask(t.Context(), everything); latchkey.CodeOf(err) != latchkey.CodeForbidden {
		t.Errorf("without opa: %v", err)
	}
}

// curl runs the line of the document.
func curl(t *testing.T, socket string) {
	t.Helper()
	line := strings.ReplaceAll(block(t, "sh", "curl"), "/run/opa/opa.sock", socket)
	out, err := exec.Command("sh", "-c", strings.Replace(line, "curl ", "curl -sS ", 1)).CombinedOutput()
	if err != nil || !strings.Contains(strings.ReplaceAll(string(out), " ", ""), `"result":true`) {
		t.Errorf("curl: %v, %s", err, out)
	}
}

func testTLS(t *testing.T, bin string) {
	cert, key := pair(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	runOPA(t, bin, "tcp", addr, "--tls-cert-file", cert, "--tls-private-key-file", key)
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	everything := &acl.Request{User: "alice", Role: "admin", Action: acl.CoAPGet, Resource: "/light/1", Path: acl.PathLocal}
	if err := open(t, Config{URL: "https://" + addr, Roots: roots, Timeout: patient}).Ask(t.Context(), everything); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]Config{
		"nobody vouches": {URL: "https://" + addr},
		"wrong name":     {URL: "https://" + strings.Replace(addr, "127.0.0.1", "localhost", 1), Roots: roots},
	} {
		c.Timeout = patient
		if err := open(t, c).Ask(t.Context(), everything); latchkey.CodeOf(err) != latchkey.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pair makes a certificate for 127.0.0.1 and its key, and returns their files.
func pair(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
