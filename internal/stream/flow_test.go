package stream

import (
	"testing"
	"context"
	"time"
)

func TestFlow(t *testing.T) {
	p := newPair(t, Config{}, Config{Accept: func(in *Incoming) {
		t.Log("incoming", in.Service(), in.Datagram())
		f, err := in.AcceptDatagram()
		if err != nil {
			t.Error(err)
			return
		}
		buf := make([]byte, 100)
		for {
			n, err := f.Read(buf)
			if err != nil {
				t.Log(err)
				return
			}
			t.Log("got", string(buf[:n]))
			f.Write(buf[:n])
		}
	}}, path{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	f, err := p.client.OpenDatagram(ctx, "dns")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for range 3 {
		f.Write([]byte("x"))
		f.SetReadDeadline(time.Now().Add(2*time.Second))
		n, err := f.Read(buf)
		t.Log(n, err)
	}
	f.Close()
}
