package stream

import "sync"

// blockSize is what a buffer grows by: one message of our own senders. A peer
// that sends messages a little over half of it makes buffers hold twice the
// bytes that it has credit for, and no message size is worse.
const blockSize = maxSend

// A block is memory of a buffer: bytes r to w wait to be read.
type block struct {
	r, w int
	b    []byte
}

var blocks = sync.Pool{New: func() any { return &block{b: make([]byte, blockSize)} }}

// A buffer is a queue of bytes in blocks. One goroutine fills it, by reserve
// and commit, and one empties it, by next and discard; what they touch between
// the calls never overlaps, so only the calls need the owner's lock.
type buffer struct {
	size     int // bytes that wait to be read
	queue    []*block
	reserved bool // the last block is being filled
}

// reserve returns room for n bytes. They count once commit was called.
func (q *buffer) reserve(n int) []byte {
	if len(q.queue) == 0 || len(q.last().b)-q.last().w < n {
		q.queue = append(q.queue, newBlock(n))
	}
	q.reserved = true
	last := q.last()
	return last.b[last.w : last.w+n]
}

// commit says that the first n bytes of what reserve returned are there.
func (q *buffer) commit(n int) {
	q.reserved = false
	if len(q.queue) == 0 {
		return // dropped in between
	}
	q.last().w += n
	q.size += n
	q.trim()
}

// next returns the bytes at the head of the queue, nil if there are none.
func (q *buffer) next() []byte {
	if q.size == 0 {
		return nil
	}
	head := q.queue[0]
	return head.b[head.r:head.w]
}

// discard forgets n bytes, at most what next returned.
func (q *buffer) discard(n int) {
	if q.size < n {
		return // dropped in between
	}
	q.queue[0].r += n
	q.size -= n
	q.trim()
}

// drop forgets everything. The blocks do not return to the pool, because
// somebody may be reading from one or filling one.
func (q *buffer) drop() { q.queue, q.size = nil, 0 }

// trim frees the blocks at the head that were read to their end.
func (q *buffer) trim() {
	for len(q.queue) > 0 {
		head := q.queue[0]
		if head.r < head.w || (q.reserved && len(q.queue) == 1) {
			return
		}
		q.queue[0] = nil
		q.queue = q.queue[1:]
		freeBlock(head)
	}
	q.queue = nil
}

func (q *buffer) last() *block { return q.queue[len(q.queue)-1] }

func newBlock(n int) *block {
	if n > blockSize {
		return &block{b: make([]byte, n)}
	}
	return blocks.Get().(*block)
}

func freeBlock(b *block) {
	if len(b.b) == blockSize {
		b.r, b.w = 0, 0
		blocks.Put(b)
	}
}
