//go:build lab

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
)

// run runs a program to its end and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(deadline(t), name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// foreignKey makes a key and certificate with openssl and returns their files
// and the fingerprint that openssl and sha256sum compute.
func foreignKey(t *testing.T) (cert, key string, f latchkey.Fingerprint) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	run(t, "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
	run(t, "openssl", "req", "-new", "-x509", "-key", key, "-out", cert, "-days", "30", "-subj", "/CN=foreign")
	sum := run(t, "sh", "-c", "openssl pkey -in '"+key+"' -pubout -outform der | sha256sum")
	f, err := latchkey.ParseFingerprint(strings.Fields(sum)[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, f
}

// coapDevice has resources of every kind that the clients below ask for.
func coapDevice(t *testing.T, key latchkey.Fingerprint, role string) *testDevice {
	t.Helper()
	var mu sync.Mutex
	stored := []byte("empty")
	mux := device.NewMux()
	mux.HandleFunc("GET /store", func(w device.ResponseWriter, _ *device.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = w.Write(stored)
	})
	mux.HandleFunc("PUT /store", func(w device.ResponseWriter, r *device.Request) {
		mu.Lock()
		defer mu.Unlock()
		stored = bytes.Clone(r.Body)
	})
	mux.HandleFunc("DELETE /store", func(w device.ResponseWriter, _ *device.Request) { w.SetCode(device.Deleted) })
	count := 0
	mux.HandleObservable("GET /count", device.HandlerFunc(func(w device.ResponseWriter, _ *device.Request) {
		mu.Lock()
		defer mu.Unlock()
		count++
		fmt.Fprintf(w, "count %d;", count)
	}))
	store := newStore(t)
	td := serve(t, &device.Device{Identity: newIdentity(t), Access: store, Handler: mux})
	err := store.Update(func(tx *acl.Tx) error {
		if err := tx.AddUser(acl.User{Name: "foreign", Role: role, Added: time.Now()}); err != nil {
			return err
		}
		return tx.AddKey(acl.Key{Fingerprint: key, User: "foreign", Added: time.Now(), Origin: "manual"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return td
}

// TestCoAPClients puts libcoap's client, with both of its TLS libraries, at
// the other end of everything that a CoAP client can do here.
func TestCoAPClients(t *testing.T) {
	for _, program := range []string{"coap-client-openssl", "coap-client-gnutls"} {
		t.Run(program, func(t *testing.T) {
			cert, key, f := foreignKey(t)
			td := coapDevice(t, f, "user")
			ask := func(path string, args ...string) string {
				args = append([]string{"-c", cert, "-j", key, "-B", "20"}, args...)
				return run(t, program, append(args, "coaps://"+td.info.Addrs[0].String()+path)...)
			}
			if got := ask("/device/info"); !strings.Contains(got, td.info.Fingerprint.String()) {
				t.Errorf("get: %s", got)
			}
			if got := ask("/.well-known/core"); !strings.Contains(got, "</count>;obs") {
				t.Errorf("discovery: %s", got)
			}
			body := strings.Repeat("0123456789abcdef", 4000) // 64,000 bytes
			file := filepath.Join(t.TempDir(), "body")
			if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, size := range []string{"64", "512", "1024"} {
				ask("/store", "-m", "put", "-b", size, "-f", file)
				if got := ask("/store", "-b", size); strings.TrimSpace(got) != body {
					t.Errorf("blocks of %s: %d bytes back of %d", size, len(got), len(body))
				}
			}
			ask("/store", "-m", "put", "-e", "small", "-N")
			if got := ask("/store", "-N"); !strings.Contains(got, "small") {
				t.Errorf("non-confirmable: %s", got)
			}
			ask("/store", "-m", "delete")
			if got := ask("/nothing"); !strings.Contains(got, "4.04") {
				t.Errorf("unknown path: %s", got)
			}
			if got := ask("/store", "-O", "2049,0x01"); !strings.Contains(got, "4.02") {
				t.Errorf("unknown critical option: %s", got)
			}
			if got := ask("/store", "-O", "35,coap://127.0.0.1/"); !strings.Contains(got, "5.05") {
				t.Errorf("Proxy-Uri: %s", got)
			}
			observe(t, td, program, "-c", cert, "-j", key)
		})
	}
}

// observe expects three states, the last two of them notifications.
func observe(t *testing.T, td *testDevice, program string, args ...string) {
	t.Helper()
	args = append(args, "-s", "30", "-B", "40", "coaps://"+td.info.Addrs[0].String()+"/count")
	cmd := exec.CommandContext(deadline(t), program, args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for n := 1; n <= 3; n++ {
		want := fmt.Sprintf("count %d;", n)
		for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), want); {
			if time.Now().After(end) {
				t.Fatalf("%s: no %q in %q", program, want, out.String())
			}
			time.Sleep(20 * time.Millisecond)
		}
		td.Notify("/count")
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestCoAPClientWithoutRights is told so, by key and by rule.
func TestCoAPClientWithoutRights(t *testing.T) {
	cert, key, f := foreignKey(t)
	td := coapDevice(t, f, "guest")
	url := "coaps://" + td.info.Addrs[0].String()
	if got := run(t, "coap-client-openssl", "-c", cert, "-j", key, "-B", "20", url+"/store"); !strings.Contains(got, "4.03") {
		t.Errorf("guest: %s", got)
	}
	cert, key, _ = foreignKey(t)
	if got, err := output(deadline(t), "coap-client-openssl", "-c", cert, "-j", key, "-B", "5", url+"/device/info"); strings.Contains(got, "fingerprint") {
		t.Errorf("unknown key: %s, %v", got, err)
	}
}

// TestOurKeyFileServesForeignClients uses key.pem, as it is, with another
// program, and checks its fingerprint with openssl.
func TestOurKeyFileServesForeignClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x", "key.pem")
	id, err := latchkey.CreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := run(t, "sh", "-c", "openssl pkey -in '"+path+"' -pubout -outform der | sha256sum")
	if got := strings.Fields(sum)[0]; got != id.Fingerprint().String() {
		t.Errorf("openssl computes %s, we %s", got, id.Fingerprint())
	}
	text := run(t, "openssl", "x509", "-in", path, "-outform", "pem")
	block, _ := pem.Decode([]byte(text))
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Error(err)
	}
	td := coapDevice(t, id.Fingerprint(), "user")
	got := run(t, "coap-client-openssl", "-c", path, "-j", path, "-B", "20", "coaps://"+td.info.Addrs[0].String()+"/device/info")
	if !strings.Contains(got, td.info.Fingerprint.String()) {
		t.Errorf("got %s", got)
	}
}
