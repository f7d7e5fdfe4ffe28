package secure

import "sync"

// A chunk holds whole records, as many as one read of the DTLS library takes.
type chunk struct {
	next *chunk
	size int
	data [maxRecord]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// A queue holds records in the order of their arrival. An empty one owns no
// memory.
type queue struct {
	head, tail *chunk
	length     int // chunks
}

// push appends a record, unless that takes more than limit chunks.
func (q *queue) push(raw []byte, limit int) bool {
	if q.tail == nil || q.tail.size+len(raw) > len(q.tail.data) {
		if q.length >= limit {
			return false
		}
		q.extend()
	}
	q.tail.size += copy(q.tail.data[q.tail.size:], raw)
	return true
}

func (q *queue) extend() {
	c := chunks.Get().(*chunk)
	c.next, c.size = nil, 0
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.length++
}

func (q *queue) empty() bool { return q.head == nil }

// pop takes the oldest chunk out of a queue that is not empty. Its taker gives
// it back to chunks.
func (q *queue) pop() *chunk {
	c := q.head
	if q.head = c.next; q.head == nil {
		q.tail = nil
	}
	q.length--
	return c
}

// clear forgets everything.
func (q *queue) clear() { *q = queue{} }
