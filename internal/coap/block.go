package coap

import (
	codec "github.com/plgd-dev/go-coap/v3/message"
)

const (
	largestExponent = 6 // 1024 bytes; 7 is reserved (RFC 7959 section 2.2)
	largestBlock    = 1024
	smallestBlock   = 16
)

// A block is the value of a Block1 or Block2 option (RFC 7959 section 2.2).
type block struct {
	set  bool
	more bool
	szx  uint8 // size exponent: a block has 1<<(szx+4) bytes
	num  uint32
}

// size returns the block size in bytes.
func (b block) size() int { return 1 << (b.szx + 4) }

// offset returns where in the body the block begins.
func (b block) offset() int { return int(b.num) * b.size() }

// valid reports whether the size exponent is not the reserved one.
func (b block) valid() bool { return b.szx <= largestExponent }

// exponent returns the szx of the largest block that is no larger than size.
func exponent(size int) uint8 {
	var szx uint8
	for szx < largestExponent && 1<<(szx+5) <= size {
		szx++
	}
	return szx
}

// maxBlockNumber is the highest number that the option can carry.
const maxBlockNumber = 1<<20 - 1

func decodeBlock(v []byte) block {
	n := decodeUint(v)
	return block{set: true, more: n&8 != 0, szx: uint8(n & 7), num: n >> 4}
}

func (b block) addTo(o *options, id codec.OptionID) {
	if !b.set {
		return
	}
	v := b.num<<4 | uint32(b.szx)
	if b.more {
		v |= 8
	}
	o.uint(id, v)
}
