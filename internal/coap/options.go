package coap

import (
	"bytes"
	"cmp"
	"slices"

	codec "github.com/plgd-dev/go-coap/v3/message"
)

// requestTag keeps the blocks of concurrent requests apart (RFC 9175 section 3).
const requestTag codec.OptionID = 292

// managed reports whether the endpoint itself writes and reads an option, so
// that it never travels in Request.Options or Response.Options.
func managed(id codec.OptionID) bool {
	switch id {
	case codec.Observe, codec.URIPath, codec.ContentFormat, codec.URIQuery, codec.Accept,
		codec.Block1, codec.Block2, codec.Size1, codec.Size2, codec.NoResponse, requestTag:
		return true
	}
	return false
}

// critical reports whether who does not know an option must refuse the message
// (RFC 7252 section 5.4.1).
func critical(id codec.OptionID) bool { return id&1 == 1 }

// proper reports whether options[i] has a legal length and may appear in this
// place. What is not proper counts as unknown (RFC 7252 sections 5.4.3 and 5.4.5).
func proper(options codec.Options, i int) bool {
	o := options[i]
	if def, ok := codec.CoapOptionDefs[o.ID]; ok && (len(o.Value) < int(def.MinLen) || len(o.Value) > int(def.MaxLen)) {
		return false
	}
	return i == 0 || options[i-1].ID != o.ID || repeatable(o.ID)
}

func repeatable(id codec.OptionID) bool {
	switch id {
	case codec.URIHost, codec.IfNoneMatch, codec.Observe, codec.URIPort, codec.ContentFormat, codec.MaxAge,
		codec.Accept, codec.Block1, codec.Block2, codec.Size1, codec.Size2, codec.ProxyURI, codec.ProxyScheme,
		codec.NoResponse:
		return false
	}
	return true
}

// decodeUint reads an option of format uint (RFC 7252 section 3.2).
func decodeUint(b []byte) uint32 {
	var v uint32
	for _, c := range b {
		v = v<<8 | uint32(c)
	}
	return v
}

// encodeUint returns the shortest form of v.
func encodeUint(v uint32) []byte {
	b := []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return bytes.TrimLeft(b, "\x00")
}

// options collects what a message carries and brings it into order.
type options codec.Options

func (o *options) bytes(id codec.OptionID, v []byte) {
	*o = append(*o, codec.Option{ID: id, Value: v})
}

func (o *options) uint(id codec.OptionID, v uint32) { o.bytes(id, encodeUint(v)) }

func (o *options) format(id codec.OptionID, f Format) {
	if f >= 0 && f <= 0xffff {
		o.uint(id, uint32(f))
	}
}

// extra adds the caller's own options, except those that the endpoint manages.
func (o *options) extra(list []Option) {
	for _, x := range list {
		if id := codec.OptionID(x.Number); !managed(id) {
			o.bytes(id, x.Value)
		}
	}
}

// sorted returns the options in the order of their numbers, repeated ones in
// the order they were added.
func (o options) sorted() codec.Options {
	byNumber := func(a, b codec.Option) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(o, byNumber) {
		slices.SortStableFunc(o, byNumber)
	}
	return codec.Options(o)
}

// exported copies an option out of a datagram.
func exported(o codec.Option) Option {
	return Option{Number: uint16(o.ID), Value: bytes.Clone(o.Value)}
}
