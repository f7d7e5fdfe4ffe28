package acl

import (
	"net/netip"
	"time"

	"github.com/latchkey-dev/latchkey"
)

// A PathKind says how a peer's datagrams reach the device now.
type PathKind string

// The kinds of path. The zero PathKind is unknown: an allow that asks for the
// path then fails, and a deny holds.
const (
	PathLocal  PathKind = "local"
	PathDirect PathKind = "direct"
	PathRelay  PathKind = "relay"
)

// A Request is the question that a decision answers: may this peer do this
// here. The device fills it with facts that it verified itself; only Action and
// Resource come from what the peer asked for. A zero field is an unknown fact.
type Request struct {
	Device latchkey.DeviceID    // this device
	Peer   latchkey.Fingerprint // the key that the handshake proved
	User   string               // who owns Peer, as Store.Lookup said
	Role   string               // and the user's role

	Action      Action
	Resource    string // cleaned CoAP path, service id, exact upstream URL, or pairing mode
	ServiceType string // "tcp", "udp" or "unix", for TunnelOpen and ServiceList
	Target      string // what the service leads to, and just what will be dialled: "tcp://127.0.0.1:22"

	Path      PathKind
	Source    netip.Addr // where the peer's datagrams come from
	Time      time.Time  // now; zero when the clock is not to be trusted
	KeyAdded  time.Time
	KeyOrigin string         // how the key came here: "local-initial", "manual"
	Expires   time.Time      // when the access of User, or of Peer, ends; zero: never
	Claims    map[string]any // of Token; policies see them as claim.NAME
	Token     *Token         // that the device itself validated in this session; nil: none

	// Listing is set when nothing is done and the answer only decides whether a
	// name or a right may be shown. Policies do not see it; hooks and logs may.
	Listing bool
}

// A Token is what a JSON Web Token entitles its bearer to, after the device has
// validated it. It counts only for keys that belong to no user.
type Token struct {
	Issuer  string // who vouches for the bearer
	Subject string // the claim sub
	ID      string // the claim jti
	Role    string // that the claims map to, with the policies it has here
	// Scope are patterns of actions, as policies spell them. Nil: all that the
	// role may do. Otherwise what matches none of them is refused, and patterns
	// that mean nothing here grant nothing.
	Scope   []string
	Expires time.Time // from then on every request is refused
}
