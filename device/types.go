package device

import "github.com/latchkey-dev/latchkey/internal/coap"

// A Method is a CoAP request code (RFC 7252 section 12.1.1, RFC 8132).
type Method = coap.Code

// The methods.
const (
	GET    = coap.GET
	POST   = coap.POST
	PUT    = coap.PUT
	DELETE = coap.DELETE
	FETCH  = coap.FETCH
	PATCH  = coap.PATCH
	IPATCH = coap.IPATCH
)

// A Code is a CoAP response code, class<<5 | detail (RFC 7252 section 5.9).
type Code = coap.Code

// The codes that handlers use most.
const (
	Created       = coap.Created       // 2.01
	Deleted       = coap.Deleted       // 2.02
	Valid         = coap.Valid         // 2.03
	Changed       = coap.Changed       // 2.04
	Content       = coap.Content       // 2.05
	BadRequest    = coap.BadRequest    // 4.00
	NotFound      = coap.NotFound      // 4.04
	NotAcceptable = coap.NotAcceptable // 4.06
)

// A Format is a CoAP content format (RFC 7252 section 12.3).
type Format = coap.Format

// The formats that handlers use most.
const (
	NoFormat    Format = coap.NoFormat
	FormatText  Format = 0
	FormatLink  Format = 40
	FormatBytes Format = 42
	FormatJSON  Format = 50
	FormatCBOR  Format = 60
)

// methods in the spelling of patterns.
var methods = map[string]Method{
	"GET": GET, "POST": POST, "PUT": PUT, "DELETE": DELETE, "FETCH": FETCH, "PATCH": PATCH, "IPATCH": IPATCH,
}

// parseMethod returns 0 for a name that is no method.
func parseMethod(name string) Method { return methods[name] }

func methodName(m Method) string {
	for name, method := range methods {
		if method == m {
			return name
		}
	}
	return "UNKNOWN"
}
