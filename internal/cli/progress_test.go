package cli

import (
	"bytes"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	var out bytes.Buffer
	p := progress{w: &out}
	start := time.Unix(1000, 0)
	steps := []struct {
		after          time.Duration
		sent, received int64
		want           string
	}{
		{0, 0, 0, ""},
		{time.Second, 0, 0, ""}, // nothing moves, nothing is shown
		{2 * time.Second, 1 << 20, 0, "\r\x1b[Ksent 1.00 MiB, 1.00 MiB/s; received 0 B, 0 B/s"},
		{4 * time.Second, 1 << 20, 2048, "\r\x1b[Ksent 1.00 MiB, 0 B/s; received 2.00 KiB, 1.00 KiB/s"},
		{5 * time.Second, 1 << 20, 2048, "\r\x1b[K"}, // at rest the line goes
		{6 * time.Second, 1 << 20, 2048, ""},
	}
	for i, s := range steps {
		out.Reset()
		p.step(start.Add(s.after), s.sent, s.received)
		if out.String() != s.want {
			t.Errorf("step %d: %q, want %q", i, out.String(), s.want)
		}
	}
}

func TestShowProgressStops(t *testing.T) {
	zero := func() int64 { return 0 }
	stop := ShowProgress(&bytes.Buffer{}, zero, zero)
	stop()
	stop()
}

func TestBytes(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 999: "999 B", 1000: "0.98 KiB", 1024: "1.00 KiB", 20480: "20.0 KiB",
		200 << 10: "200 KiB", 1000 << 10: "0.98 MiB", 3 << 30: "3.00 GiB", 5 << 40: "5.00 TiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%v) = %q, want %q", n, got, want)
		}
	}
}
