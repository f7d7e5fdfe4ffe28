package latchkey_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

func createIdentity(t testing.TB, path string) *latchkey.Identity {
	t.Helper()
	id, err := latchkey.CreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// privateDir returns a fresh directory that only its owner can reach.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(privateDir(t), "key.pem")
	made := createIdentity(t, path)
	for range 2 {
		opened, err := latchkey.OpenIdentity(path)
		if err != nil {
			t.Fatal(err)
		}
		if opened.Fingerprint() != made.Fingerprint() || string(opened.Certificate()) != string(made.Certificate()) {
			t.Error("opened another key or certificate than was made")
		}
	}
}

func TestCreateIdentityNeverOverwrites(t *testing.T) {
	for name, occupy := range map[string]func(path string) error{
		"file":     func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"empty":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"link":     func(path string) error { return os.Symlink("elsewhere", path) },
		"dir":      func(path string) error { return os.Mkdir(path, 0o700) },
		"own file": func(path string) error { _, err := latchkey.CreateIdentity(path); return err },
	} {
		t.Run(name, func(t *testing.T) {
			dir := privateDir(t)
			path := filepath.Join(dir, "key.pem")
			if err := occupy(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			if _, err := latchkey.CreateIdentity(path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("CreateIdentity = %v, want fs.ErrExist", err)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("left behind %v, %v", entries, err)
			}
		})
	}
}

func TestOpenOrCreateIdentityRace(t *testing.T) {
	path := filepath.Join(privateDir(t), "key.pem")
	var (
		group sync.WaitGroup
		ids   [16]*latchkey.Identity
		errs  [16]error
	)
	for i := range ids {
		group.Go(func() { ids[i], errs[i] = latchkey.OpenOrCreateIdentity(path) })
	}
	group.Wait()
	for i, id := range ids {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if id.Fingerprint() != ids[0].Fingerprint() {
			t.Errorf("opener %d has key %s, opener 0 has %s", i, id, ids[0])
		}
	}
}

func TestOpenIdentityRefusesDamage(t *testing.T) {
	dir := privateDir(t)
	good := filepath.Join(dir, "good.pem")
	createIdentity(t, good)
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	key, rest := pem.Decode(text)
	cert, _ := pem.Decode(rest)
	otherCert := &pem.Block{Type: "CERTIFICATE", Bytes: newIdentity(t).Certificate()}
	p384, err := x509.MarshalPKCS8PrivateKey(newKey(t, elliptic.P384()))
	if err != nil {
		t.Fatal(err)
	}
	join := func(blocks ...*pem.Block) string {
		var b strings.Builder
		for _, block := range blocks {
			b.Write(pem.EncodeToMemory(block))
		}
		return b.String()
	}
	for name, content := range map[string]string{
		"empty":               "",
		"text":                "not a key\n",
		"key alone":           join(key),
		"certificate alone":   join(cert),
		"two certificates":    join(key, cert, cert),
		"two keys":            join(key, key, cert),
		"another certificate": join(key, otherCert),
		"P-384 key":           join(&pem.Block{Type: "PRIVATE KEY", Bytes: p384}, cert),
		"foreign block":       join(key, cert, &pem.Block{Type: "EC PARAMETERS"}),
		"garbage in the key":  join(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")}, cert),
		"cut":                 string(text[:len(text)-30]),
	} {
		path := filepath.Join(dir, "bad.pem")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := latchkey.OpenIdentity(path)
		if err == nil || id != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v: does not name the file", name, err)
		}
	}
	if _, err := latchkey.OpenIdentity(filepath.Join(dir, "absent.pem")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v, want fs.ErrNotExist", err)
	}
}
