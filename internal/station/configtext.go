package station

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/latchkey-dev/latchkey/basestation"
	"github.com/latchkey-dev/latchkey/internal/settings"
)

// config writes the configuration as a person would, with every setting named.
func (s Setup) config() []byte {
	if s.Listen == "" {
		s.Listen = basestation.DefaultAddr
	}
	public := make([]string, len(s.PublicAddrs))
	for i, addr := range s.PublicAddrs {
		public[i] = settings.Quote(addr)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, configHead, settings.Quote(s.Listen), strings.Join(public, ", "))
	b.WriteString(configIssuers)
	b.WriteString(configLimits)
	return b.Bytes()
}

const configHead = `# Configuration of latchkey-basestation. Unknown settings are errors. SIGHUP
# reloads issuers, limits and log_level; the others take effect at the next start.

listen: %s # UDP and TCP, [HOST]:PORT

# Where peers send STUN requests: IP, with :PORT where a router in front maps
# another. Without any, and for a HOST, they use the address that they dialled.
public_addresses: [%s]

log_level: info # debug, info, warn, error

# Networks that may read /metrics over HTTPS, such as 10.0.0.0/8. Without any,
# only this machine may, over loopback.
metrics_from: []

`

const configIssuers = `# Who issues JSON Web Tokens that open the gate to devices. Without any, only
# connect tokens do.
#   - issuer: https://id.example.org          # what the claim iss must say
#     audience: latchkey                      # what the claim aud must contain
#     jwks: https://id.example.org/jwks.json  # the keys, by https
#     algorithms: [ES256, EdDSA]              # also RS256 and PS256
#     devices_claim: devices                  # the claim that lists PRODUCT/DEVICE or PRODUCT/*
#     products: [acme]                        # it may speak for; absent: all
#     require_binding: true                   # a token names the client's key in cnf
#     allow_private: false                    # jwks may be at a private address
#     refresh: 15m                            # age at which keys are fetched anew
#     max_age: 24h                            # age up to which they serve while that fails
issuers: []

`

const configLimits = `# Absent limits have these values. Those marked * take effect at the next start.
# * sessions: 20000                 # peers connected at once by UDP, at most 100000; a quarter as many may be clients
#   streams: 10000                  # TCP connections at once
#   per_source: 64                  # peers that are neither device nor introduced to one, from one IPv4 address or IPv6 /56
#   streams_per_source: 256         # TCP connections from there without device, introduced client or relayed session
# * handshakes: 256                 # in progress at once
# * handshakes_per_source: 32
#   introductions: 50000            # at once
#   introductions_per_client: 32
#   introductions_per_device: 512
#   wait: 10m                       # that a client may wait for a device to attach
#   drain: 10s                      # after SIGTERM, for relayed sessions to move
# * relay:
#     sessions: 16384               # at once
#     sessions_per_client: 64
#     sessions_per_device: 1024
#     rate: 32MiB                   # per second, from each side of a session
#     bytes: 64GiB                  # in a session
#     duration: 24h                 # of a session
#     first_use: 10m                # of a grant, after it was given; at most 10m
limits: {}
`
