package session

import "time"

// Keep-alive times. A path is shown down within 15 s of silence, and the
// session is held for another 60 s (docs/protocol.md section 6).
const (
	probeAfter = 5 * time.Second  // of silence: the first probe
	probeEvery = 3 * time.Second  // between probes while silence lasts
	downAfter  = 12 * time.Second // of silence: the path is shown down
	lostAfter  = 72 * time.Second // of silence: the session ends, unless Config.Silence says when
)

type verdict int

const (
	quiet verdict = iota // nothing to do
	probe                // send a keep-alive
	lost                 // give the session up
)

// A keepalive watches one path. Time is an argument.
type keepalive struct {
	limit  time.Duration // of silence: the session ends
	probed time.Time     // when the last probe went out
	down   bool
}

// step judges the silence since the peer was last heard.
func (k *keepalive) step(now, heard time.Time) verdict {
	silence := now.Sub(heard)
	k.down = silence >= downAfter
	switch {
	case silence >= k.limit:
		return lost
	case silence >= probeAfter && now.Sub(k.probed) >= probeEvery:
		k.probed = now
		return probe
	}
	return quiet
}
