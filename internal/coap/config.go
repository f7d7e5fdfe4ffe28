package coap

import (
	"log/slog"
	"time"
)

// Config describes an Endpoint. Send is required, every other zero field has
// the default that its comment names.
type Config struct {
	// Send transmits one datagram and does not keep it. It must not block for
	// long and may be called from several goroutines. Its error counts as loss.
	Send func([]byte) error

	// Handler answers the peer's requests. Nil: every request gets 4.04.
	Handler Handler

	// Critical lists the critical (odd) options that Handler understands
	// beside Uri-Host, Uri-Port, Uri-Path, Uri-Query, Accept, Block1 and
	// Block2. A request with any other critical option gets 4.02 (RFC 7252
	// section 5.4.1); Proxy-Uri and Proxy-Scheme always get 5.05.
	Critical []uint16

	MaxBody      int // largest body in either direction, in bytes; 0: 1 MiB
	BlockSize    int // preferred block size, a power of two from 16 to 1024; 0: 1024
	Workers      int // handlers that run at once; 0: 16
	Queue        int // requests that may wait for a worker, 4.29 beyond; 0: 64
	Uploads      int // requests of the peer that may be unfinished at once; 0: 4
	Downloads    int // answers that are kept for the peer to fetch further blocks; 0: 4
	Observations int // observations the peer may hold; 0: 64
	InFlight     int // requests of ours that may be open at once; 0: 64

	// AckTimeout is how long a confirmable message waits before it is first
	// repeated (times 1 to 1.5 at random, doubled four times); 0: 2 s.
	AckTimeout time.Duration

	Log *slog.Logger // nil: slog.Default()
}

// withDefaults returns a copy with the defaults in place.
func (c Config) withDefaults() Config {
	if c.Send == nil {
		panic("coap: Config.Send is required")
	}
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&c.MaxBody, 1<<20)
	set(&c.BlockSize, largestBlock)
	set(&c.Workers, 16)
	set(&c.Queue, 64)
	set(&c.Uploads, 4)
	set(&c.Downloads, 4)
	set(&c.Observations, 64)
	set(&c.InFlight, 64)
	if c.AckTimeout <= 0 {
		c.AckTimeout = ackTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
