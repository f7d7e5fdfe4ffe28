package stream

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
	"github.com/pion/sctp"
)

const (
	// mtu keeps a packet within 1280 bytes (RFC 8200 section 5) after DTLS,
	// a TURN channel header, UDP and IPv6 took theirs.
	mtu = 1191
	// receiveBuffer is the window of the association. Credit keeps peers well
	// below it, so it only has to be larger than any credit of a session.
	receiveBuffer = 8 << 20
	// maxMessage is the largest message taken from a peer; maxSend the largest
	// sent. Small ones let tunnels take turns; this one costs no throughput.
	maxMessage = 64 << 10
	maxSend    = 16 << 10
	// rtoMax is how long, in milliseconds, a path that came back may find us
	// waiting before we try it.
	rtoMax = 3000
)

// options sets up an association for tunnels: reception bounded by credit, a
// congestion window that begins at sixteen packets and never falls below, much
// as RFC 6928 begins, recovery of several losses at once, and growth by eight
// packets a round trip, which gets through random loss about three times as
// well as one; a session carries the traffic of many connections.
func options(l *leg, mtu uint32, log *slog.Logger) []sctp.AssociationOption {
	return []sctp.AssociationOption{
		sctp.WithNetConn(l),
		sctp.WithLoggerFactory(sctpLog{log}),
		sctp.WithMTU(mtu),
		sctp.WithEnableZeroChecksum(true), // DTLS protects the packet (RFC 9653)
		sctp.WithMaxReceiveBufferSize(receiveBuffer),
		sctp.WithMaxMessageSize(maxMessage),
		sctp.WithRTOMax(rtoMax),
		sctp.WithMinCwnd(16 * mtu),
		sctp.WithFastRtxWnd(64 * mtu),
		sctp.WithCwndCAStep(8 * mtu),
		sctp.WithInterleavingOptions(sctp.WithInterleavingRoundRobinScheduler()),
	}
}

// associate runs the SCTP handshake and returns when it is over or the leg
// was closed.
func associate(l *leg, client bool, mtu uint32, log *slog.Logger) (*sctp.Association, error) {
	a, err := handshake(l, client, mtu, log)
	if err != nil {
		_ = l.Close() // an association that failed still reads from it
		return nil, fmt.Errorf("stream: associate: %w", err)
	}
	return a, nil
}

func handshake(l *leg, client bool, mtu uint32, log *slog.Logger) (*sctp.Association, error) {
	shared := options(l, mtu, log)
	if client {
		opts := make([]sctp.ClientOption, len(shared))
		for i, o := range shared {
			opts[i] = o
		}
		return sctp.ClientContext(context.Background(), opts...) // closing the leg ends it
	}
	opts := make([]sctp.ServerOption, len(shared))
	for i, o := range shared {
		opts[i] = o
	}
	return sctp.ServerWithOptions(opts...)
}

// isInit says that an SCTP packet begins an association (RFC 9260 section
// 3.3.2): an INIT chunk after the common header.
func isInit(packet []byte) bool { return len(packet) >= 32 && packet[12] == 1 }

// sctpLog passes what the SCTP library complains about to slog, at debug
// level: a peer can provoke every line of it.
type sctpLog struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (l sctpLog) NewLogger(string) logging.LeveledLogger { return l }

func (l sctpLog) Trace(string)          {}
func (l sctpLog) Tracef(string, ...any) {}
func (l sctpLog) Debug(string)          {}
func (l sctpLog) Debugf(string, ...any) {}
func (l sctpLog) Info(string)           {}
func (l sctpLog) Infof(string, ...any)  {}

func (l sctpLog) Warn(msg string)                   { l.log.Debug("sctp", "err", msg) }
func (l sctpLog) Warnf(format string, args ...any)  { l.format(format, args) }
func (l sctpLog) Error(msg string)                  { l.log.Debug("sctp", "err", msg) }
func (l sctpLog) Errorf(format string, args ...any) { l.format(format, args) }

func (l sctpLog) format(format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("sctp", "err", fmt.Sprintf(format, args...))
	}
}
