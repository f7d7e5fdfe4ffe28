package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-dev/latchkey/acl"
)

// Whoever removes or replaces the file while it is open is found out, and what is
// recorded later can be read.
func TestReplaced(t *testing.T) {
	for name, tamper := range map[string]func(path string, text []byte) error{
		"removed": func(path string, _ []byte) error { return os.Remove(path) },
		"moved":   func(path string, _ []byte) error { return os.Rename(path, path+".old") },
		"edited": func(path string, text []byte) error {
			edited := bytes.Replace(text, []byte("user-1"), []byte("user-x"), 1)
			return errors.Join(os.WriteFile(path+".new", edited, 0o600), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.run(t, 3)
			d, tell := &disk{room: -1}, new(bytes.Buffer)
			log := l.openOn(t, d, tell)
			for i := range 5 {
				log.Record(change(i))
			}
			path := filepath.Join(l.config.Dir, current)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := tamper(path, text); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				log.Record(change(100))
				if len(l.read(t, Filter{Kinds: []acl.EventKind{acl.EventAuditLost}})) > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("not noticed")
				}
			}
			log.Record(change(200))
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			all := l.read(t, Filter{Kinds: []acl.EventKind{acl.EventUser}})
			if n := len(all); n == 0 || all[n-1].Object != change(200).Object {
				t.Errorf("the last record is not there: %+v", all)
			}
			if n := len(l.read(t, Filter{Kinds: []acl.EventKind{acl.EventAuditLost}})); n != 1 || bytes.Count(tell.Bytes(), []byte("level=ERROR")) != 1 {
				t.Errorf("%d records of it, and the log:\n%s", n, tell)
			}
			fault := new(Fault)
			if r, err := l.verify(); !errors.As(err, &fault) {
				t.Errorf("verify: %v, %+v", err, r)
			}
			l.run(t, 3)
			if _, err := l.verify(); !errors.As(err, &fault) {
				t.Errorf("verify after a new start: %v", err)
			}
		})
	}
}

// A tail that is longer than any record was not left by one.
func TestLongTail(t *testing.T) {
	l := newTestLog(t)
	l.run(t, 3)
	path := filepath.Join(l.config.Dir, current)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n, whole := range map[int]bool{maxLine: true, maxLine + 1: false, 3 << 20: false} {
		l.put(t, []testLine{{current, 1, append(bytes.Clone(text), make([]byte, n)...)}})
		fault := new(Fault)
		if r, err := l.verify(); whole && (err != nil || r.Torn != int64(n)) || !whole && !errors.As(err, &fault) {
			t.Errorf("%d bytes: %+v, %v", n, r, err)
		}
	}
}
