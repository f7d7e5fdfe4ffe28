package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func dialTarget(t *testing.T, handle func(net.Conn) error) net.Conn {
	t.Helper()
	target, err := listenTCP(handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.close)
	conn, err := net.Dial("tcp", target.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

func TestTransfers(t *testing.T) {
	const amount = 3*chunkSize + 17
	if err := upload(dialTarget(t, digest), amount); err != nil {
		t.Errorf("upload: %v", err)
	}
	if err := download(dialTarget(t, source), amount); err != nil {
		t.Errorf("download: %v", err)
	}
	if err := roundTrip(dialTarget(t, echo), 5, amount); err != nil {
		t.Errorf("round trip: %v", err)
	}
}

// A tunnel that changes, loses or adds a byte must not pass.
func TestTransfersNoticeWrongBytes(t *testing.T) {
	const amount = chunkSize
	damaged := func(change func([]byte) []byte) func(net.Conn) error {
		return func(conn net.Conn) error {
			all, err := io.ReadAll(conn)
			if err != nil {
				return err
			}
			_, err = conn.Write(change(all))
			return err
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"changed": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"lost":    func(b []byte) []byte { return b[1:] },
		"added":   func(b []byte) []byte { return append(b, 0) },
		"all":     func(b []byte) []byte { return nil },
	} {
		if err := roundTrip(dialTarget(t, damaged(change)), 5, amount); !errors.Is(err, errWrongBytes) {
			t.Errorf("%s: round trip: %v", name, err)
		}
	}
	wrongSum := func(conn net.Conn) error {
		_, err := io.Copy(io.Discard, conn)
		_, _ = conn.Write(make([]byte, 32))
		return err
	}
	if err := upload(dialTarget(t, wrongSum), amount); !errors.Is(err, errWrongBytes) {
		t.Errorf("upload: %v", err)
	}
	wrongSeed := func(conn net.Conn) error {
		if err := binary.Read(conn, binary.BigEndian, new(order)); err != nil {
			return err
		}
		return order{Seed: transferSeed + 1, Bytes: amount}.fill(conn)
	}
	if err := download(dialTarget(t, wrongSeed), amount); !errors.Is(err, errWrongBytes) {
		t.Errorf("download: %v", err)
	}
}

func TestPatternsDiffer(t *testing.T) {
	if bytes.Equal(patternSum(1, 100), patternSum(2, 100)) {
		t.Error("two seeds have one pattern")
	}
}

func TestFillKeepsItsRate(t *testing.T) {
	start := time.Now()
	if err := (order{Bytes: 4 * chunkSize, Rate: 40 * chunkSize}).fill(io.Discard); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("a tenth of a second of bytes took %v", took)
	}
}

func TestServiceNamesTheTarget(t *testing.T) {
	target, err := listenUnix(t.TempDir(), "s", echo)
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	if s := target.service("x"); !strings.HasPrefix(s, "x=unix:///") || !strings.HasSuffix(s, "/s") {
		t.Errorf("service %q", s)
	}
}

func TestReadIperf(t *testing.T) {
	bytes, rate, err := readIperf([]byte(`{"end":{"sum_received":{"bytes":125000000,"bits_per_second":1e9}}}`))
	if err != nil || bytes != 125e6 || rate != 1000 {
		t.Errorf("%v bytes, %v Mbit/s, %v", bytes, rate, err)
	}
	if _, _, err := readIperf([]byte(`{"error":"error - the server is busy running a test. try again later"}`)); !errors.Is(err, errBusy) {
		t.Errorf("busy: %v", err)
	}
	for _, bad := range []string{`{"error":"unable to connect"}`, `{"end":{}}`, ``, `{`} {
		if _, _, err := readIperf([]byte(bad)); err == nil || errors.Is(err, errBusy) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
