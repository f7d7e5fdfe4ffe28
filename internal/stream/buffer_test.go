package stream

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A buffer does what a queue of bytes does, whatever the order of its calls.
func TestBufferModel(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 0))
		var q buffer
		var model []byte
		written := byte(0)
		for range 2000 {
			switch r.IntN(3) {
			case 0: // a message, or one that was not payload
				n := 1 + r.IntN(1<<r.IntN(17))
				b := q.reserve(n)
				for i := range b {
					b[i] = written
					written++
				}
				if next := q.next(); len(next) > 0 { // read while it is filled
					take(t, &q, &model, next, r)
				}
				if r.IntN(4) == 0 {
					written -= byte(n)
					n = 0
				}
				model = append(model, b[:n]...)
				q.commit(n)
			default:
				take(t, &q, &model, q.next(), r)
			}
			if q.size != len(model) {
				t.Fatalf("seed %d: size %d, want %d", seed, q.size, len(model))
			}
		}
		for q.size > 0 {
			take(t, &q, &model, q.next(), r)
		}
		if len(q.queue) != 0 {
			t.Fatalf("seed %d: an empty buffer holds %d blocks", seed, len(q.queue))
		}
	}
}

func take(t *testing.T, q *buffer, model *[]byte, b []byte, r *rand.Rand) {
	t.Helper()
	if len(b) == 0 {
		if len(*model) != 0 {
			t.Fatalf("%d bytes are missing", len(*model))
		}
		return
	}
	n := 1 + r.IntN(len(b))
	if !bytes.Equal(b[:n], (*model)[:n]) {
		t.Fatal("bytes differ")
	}
	*model = (*model)[n:]
	q.discard(n)
}

func TestBufferDrop(t *testing.T) {
	var q buffer
	copy(q.reserve(5), "hello")
	q.commit(5)
	b := q.next()
	q.reserve(5)
	q.drop()
	q.commit(5)
	q.discard(5)
	if q.size != 0 || q.next() != nil || string(b) != "hello" {
		t.Errorf("after drop: %d bytes, %q", q.size, b)
	}
}

// Small messages share blocks, so that they cannot make a buffer large.
func TestBufferIsCompact(t *testing.T) {
	var q buffer
	for range 4 * blockSize {
		q.reserve(1)
		q.commit(1)
	}
	if len(q.queue) != 4 {
		t.Errorf("%d blocks for 4 blocks of bytes", len(q.queue))
	}
}
