package stream

import (
	"log/slog"
)

// Limits bounds what one Mux holds for its peer. A zero field takes its
// default. Both sides of a session should have the same Streams and Unanswered.
type Limits struct {
	// Streams is how many tunnels may be open at once; default 256. A flow of
	// datagrams counts as one.
	Streams int
	// Unanswered is how many opens may wait for Accept or Refuse; default 16.
	// Open waits for its turn, a peer that does not is refused.
	Unanswered int
	// Credit is how many bytes the peer may have in our buffers, all streams
	// of the session together; default 8 MiB. Each stream has 16 KiB whatever
	// it says. It is also about what waits to be sent.
	Credit int64
	// Process bounds the credit of all sessions that share it; default none.
	Process *Budget
}

// A Config says how a Mux works. It is copied.
type Config struct {
	// Client makes this the side that begins the association and opens
	// streams; it is the DTLS client and has the even stream ids (RFC 8832
	// section 6).
	Client bool
	// MTU is the largest SCTP packet that the path is known to carry, in bytes;
	// default 1191, which every path does. What arrives may be larger, up to
	// 8192.
	MTU uint32
	// Send takes one SCTP packet of at most MTU bytes, which is valid during
	// the call. net.ErrClosed says that the session is over, any other error
	// is loss. It must not block for long.
	Send func([]byte) error
	// Accept is called for each open of the peer, on a goroutine of its own.
	// It must call Accept, AcceptDatagram or Refuse, may keep the stream for
	// as long as it runs, and must return once the stream has ended. A nil
	// Accept refuses every open.
	Accept func(*Incoming)
	Limits Limits
	Log    *slog.Logger // nil: slog.Default()
}

// withDefaults returns cfg with every default in place.
func (cfg Config) withDefaults() Config {
	if cfg.MTU == 0 {
		cfg.MTU = mtu
	}
	l := &cfg.Limits
	if l.Streams <= 0 {
		l.Streams = 256
	}
	if l.Unanswered <= 0 {
		l.Unanswered = 16
	}
	if l.Credit <= 0 {
		l.Credit = receiveBuffer
	}
	l.Credit = min(l.Credit, receiveBuffer)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return cfg
}

// elastic is the credit that is left when each stream has its floor.
func (l Limits) elastic() int64 { return max(l.Credit-int64(l.Streams)*floorCredit, 0) }
