package secure

// windowWords is how many words remember replayWindow records, wherever in a
// word the window begins.
const windowWords = replayWindow/64 + 1

// A window remembers which of the last replayWindow records have come (RFC 6347
// section 4.1.2.6). The zero window has seen none.
type window struct {
	top  uint64              // one above the highest number that has come
	bits [windowWords]uint64 // of number n: bit n%64 of word n/64, modulo their number
}

// fresh reports whether record n has not come yet, as far as is known: one that
// has fallen out of the window counts as old.
func (w *window) fresh(n uint64) bool {
	switch {
	case n >= w.top:
		return true
	case w.top-n > replayWindow:
		return false
	}
	return w.bits[n/64%windowWords]&(1<<(n%64)) == 0
}

// mark says that record n, which is fresh, has come and is genuine.
func (w *window) mark(n uint64) {
	if n >= w.top {
		last := n / 64
		first := (w.top + 63) / 64 // the words that no number before n has used
		if last-first >= windowWords && last >= first {
			first = last - windowWords + 1
		}
		for word := first; word <= last; word++ {
			w.bits[word%windowWords] = 0
		}
		w.top = n + 1
	}
	w.bits[n/64%windowWords] |= 1 << (n % 64)
}
