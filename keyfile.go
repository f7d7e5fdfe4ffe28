package latchkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	keyFileMode = 0o600
	keyDirMode  = 0o700
	maxKeyFile  = 64 << 10
)

// ErrKeyFileMode reports a key file, or the directory it lies in, that others
// than its owner can reach.
var ErrKeyFileMode = errors.New("latchkey: key file is not private")

// CreateIdentity makes a new key and writes it with its certificate to path,
// which must not exist (fs.ErrExist). The file is 0600, and a directory that
// has to be made is 0700. When CreateIdentity returns nil, file and directory
// entry are on disk.
func CreateIdentity(path string) (*Identity, error) {
	id, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.signer)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.certificate})...)
	clear(key)
	defer clear(text)
	dir := filepath.Dir(path)
	if err := makePrivateDir(dir); err != nil {
		return nil, err
	}
	if err := checkPrivate(dir, true); err != nil {
		return nil, err
	}
	if err := writeNew(path, text); err != nil {
		return nil, err
	}
	return id, nil
}

// makePrivateDir makes dir when it is missing, 0700 whatever the umask is.
func makePrivateDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, keyDirMode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, keyDirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // another process was faster; checkPrivate judges what it made
		}
		return err
	}
	return errors.Join(os.Chmod(dir, keyDirMode), syncDir(parent))
}

// writeNew writes through a temporary name, so that a crash leaves either no
// key or a whole one, and links it into place without replacing anything.
func writeNew(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(keyFileMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return linkless(f.Name(), path, err)
	}
	return syncDir(filepath.Dir(path))
}

// linkless serves file systems without hard links, where a rename that could
// replace a file must be guarded by a look first.
func linkless(from, path string, linkErr error) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return linkErr
	}
	if err := os.Rename(from, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for sync there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenIdentity reads a key file that CreateIdentity wrote. It refuses, with
// ErrKeyFileMode, a file that is not 0600 or stricter, a symbolic link or
// other irregular file, and a directory that others can write to.
func OpenIdentity(path string) (*Identity, error) {
	if err := checkPrivate(filepath.Dir(path), true); err != nil {
		return nil, err
	}
	if err := checkPrivate(path, false); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	defer clear(text)
	signer, certificate, err := parseKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	id, err := IdentityFromSigner(signer, certificate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return id, nil
}

func parseKeyFile(text []byte) (signer crypto.Signer, certificate []byte, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case block.Type == "PRIVATE KEY" && signer == nil:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			clear(block.Bytes)
			if err != nil {
				return nil, nil, errors.New("the private key cannot be read")
			}
			ec, ok := key.(*ecdsa.PrivateKey)
			if !ok {
				return nil, nil, ErrKeyType
			}
			signer = ec
		case block.Type == "CERTIFICATE" && certificate == nil:
			certificate = block.Bytes
		default:
			return nil, nil, fmt.Errorf("unexpected %q block", block.Type)
		}
	}
	if signer == nil || certificate == nil {
		return nil, nil, errors.New("not a key file: one PRIVATE KEY and one CERTIFICATE block are needed")
	}
	return signer, certificate, nil
}

// OpenOrCreateIdentity opens the key file at path, or makes it when there is
// none. Two processes that start at once end up with the same key.
func OpenOrCreateIdentity(path string) (*Identity, error) {
	id, err := OpenIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id, err = CreateIdentity(path)
	if errors.Is(err, fs.ErrExist) {
		return OpenIdentity(path)
	}
	return id, err
}

// checkPrivate refuses what others could read (files) or replace (directories).
func checkPrivate(path string, dir bool) error {
	stat, forbidden, fix := os.Lstat, fs.FileMode(0o077), "chmod 600 "+path
	if dir {
		stat, forbidden, fix = os.Stat, fs.FileMode(0o022), "chmod 700 "+path
	}
	info, err := stat(path)
	if err != nil {
		return err
	}
	if !dir && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrKeyFileMode, path)
	}
	if runtime.GOOS == "windows" {
		return nil // modes say nothing there; the profile directory's ACL protects
	}
	if loose := info.Mode().Perm() & forbidden; loose != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run: %s", ErrKeyFileMode, path, info.Mode().Perm(), fix)
	}
	return nil
}
