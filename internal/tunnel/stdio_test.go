package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

func TestStdio(t *testing.T) {
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer inR.Close()
	defer outR.Close()
	local, remote := tcpPair(t)
	done := make(chan error, 1)
	go func() { done <- Splice(t.Context(), newStdio(inR, outW), local, nil) }()
	in, out := random(1, 300_000), random(2, 300_000)
	go func() {
		_, _ = inW.Write(in)
		_ = inW.Close()
	}()
	go func() {
		_, _ = remote.Write(out)
		_ = remote.CloseWrite()
	}()
	go func() {
		if got := readAll(t, outR); string(got) != string(out) {
			t.Error("the output differs")
		}
		done <- nil
	}()
	if got := readAll(t, remote); string(got) != string(in) {
		t.Error("the input differs")
	}
	for range 2 {
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	}
}

// Who reads the output sees its end only after the process could say why.
func TestStdioResetKeepsOutput(t *testing.T) {
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer inR.Close()
	defer outR.Close()
	local, remote := tcpPair(t)
	done := make(chan error, 1)
	go func() { done <- Splice(t.Context(), newStdio(inR, outW), local, nil) }()
	_ = remote.SetLinger(0)
	_ = remote.Close()
	if err := wait(t, done); err == nil {
		t.Error("a reset was taken for an end")
	}
	if _, err := outW.WriteString("why"); err != nil {
		t.Errorf("the output was closed: %v", err)
	}
	_, _ = outW.Close(), inW.Close()
	if got := readAll(t, outR); string(got) != "why" {
		t.Errorf("the output is %q", got)
	}
}

// Close ends a Read although the input does not.
func TestStdioClose(t *testing.T) {
	inR, inW := io.Pipe()
	_, outW := io.Pipe()
	s := newStdio(inR, outW)
	read := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_ = inW.Close() // ends the pump
}
