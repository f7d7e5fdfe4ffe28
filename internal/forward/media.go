package forward

import (
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-dev/latchkey/internal/coap"
)

// textPlain is format 0, the only one that fixes a charset.
const textPlain = "text/plain;charset=utf-8"

// mediaTypes holds the registered content formats that stand for one media
// type without a content coding (IANA registry "CoAP Content-Formats").
var mediaTypes = map[coap.Format]string{
	0:     textPlain,
	16:    `application/cose;cose-type="cose-encrypt0"`,
	17:    `application/cose;cose-type="cose-mac0"`,
	18:    `application/cose;cose-type="cose-sign1"`,
	19:    "application/ace+cbor",
	21:    "image/gif",
	22:    "image/jpeg",
	23:    "image/png",
	40:    "application/link-format",
	41:    "application/xml",
	42:    "application/octet-stream",
	47:    "application/exi",
	50:    "application/json",
	51:    "application/json-patch+json",
	52:    "application/merge-patch+json",
	60:    "application/cbor",
	61:    "application/cwt",
	62:    "application/multipart-core",
	63:    "application/cbor-seq",
	101:   "application/cose-key",
	102:   "application/cose-key-set",
	110:   "application/senml+json",
	111:   "application/sensml+json",
	112:   "application/senml+cbor",
	113:   "application/sensml+cbor",
	114:   "application/senml-exi",
	115:   "application/sensml-exi",
	256:   "application/coap-group+json",
	257:   "application/concise-problem-details+cbor",
	310:   "application/senml+xml",
	311:   "application/sensml+xml",
	320:   "application/senml-etch+json",
	322:   "application/senml-etch+cbor",
	432:   "application/td+json",
	10000: "application/vnd.ocf+cbor",
	20000: "text/css",
	30000: "image/svg+xml",
}

// formats is mediaTypes the other way round.
var formats = func() map[string]coap.Format {
	m := make(map[string]coap.Format, len(mediaTypes))
	for f, name := range mediaTypes {
		m[name] = f
	}
	return m
}()

// formatOf returns the content format of an HTTP body, NoFormat when there is
// none for its media type: the bytes are then forwarded and the client learns
// no type, as RFC 7252 section 5.5.1 allows.
func formatOf(contentType string, body []byte) coap.Format {
	name, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return coap.NoFormat
	}
	charset := strings.ToLower(params["charset"])
	if name == "text/plain" {
		if charset != "" && charset != "utf-8" && charset != "us-ascii" || !utf8.Valid(body) {
			return coap.NoFormat
		}
		return coap.TextPlain
	}
	if charset != "" && charset != "utf-8" {
		return coap.NoFormat
	}
	if kind := params["cose-type"]; kind != "" {
		name += `;cose-type="` + kind + `"`
	}
	if f, ok := formats[name]; ok {
		return f
	}
	return coap.NoFormat
}
