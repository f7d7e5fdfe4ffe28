//go:build lab

package latchkey_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFingerprintEqualsOpenSSL compares with the command that the documents
// tell people to check a fingerprint with.
func TestFingerprintEqualsOpenSSL(t *testing.T) {
	for range 20 {
		path := filepath.Join(privateDir(t), "key.pem")
		id := createIdentity(t, path)
		for name, command := range map[string]string{
			"key":         `openssl pkey -in "$1" -pubout -outform der | sha256sum`,
			"certificate": `openssl x509 -in "$1" -pubkey -noout | openssl pkey -pubin -pubout -outform der | sha256sum`,
		} {
			out, err := exec.Command("sh", "-ec", command, "sh", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := strings.Cut(string(out), " "); got != id.Fingerprint().String() {
				t.Fatalf("%s: openssl says %s, we say %s", name, got, id.Fingerprint())
			}
		}
	}
}
