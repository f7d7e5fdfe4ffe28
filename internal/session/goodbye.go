package session

import (
	"strings"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// lastWord is the CoAP message by which a device tells a client why it ends the
// session, up to the code that follows: a non-confirmable POST without token to
// the path "end" (docs/protocol.md section 6). Clients of other make answer it
// like any request that they do not know, and see close_notify.
const lastWord = "\x50\x02\xff\xff" + "\xb3end" + "\xff"

// byeTime is how long a client has to take a goodbye in before close_notify,
// which may overtake it.
const byeTime = 200 * time.Millisecond

// goodbye is the datagram that tells a reason; nil if there is none to tell.
func goodbye(cause error) []byte {
	code := latchkey.CodeOf(cause)
	switch code {
	case latchkey.CodeRevoked, latchkey.CodeShutdown, latchkey.CodeUnpaired, latchkey.CodeTooMany,
		latchkey.CodeDisconnected, latchkey.CodeAbuse, latchkey.CodeTokenExpired:
		return Goodbye(code)
	}
	return nil
}

// Goodbye is the datagram that tells a peer why its session ends.
func Goodbye(code latchkey.Code) []byte { return append([]byte(lastWord), byte(code)) }

// reason reads what goodbye wrote; 0 for any other datagram.
func reason(b []byte) latchkey.Code {
	code, ok := strings.CutPrefix(string(b[:min(len(b), len(lastWord)+2)]), lastWord)
	if !ok || len(code) != 1 {
		return 0
	}
	return latchkey.Code(code[0])
}
