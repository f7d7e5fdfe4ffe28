package coap

import "sync"

// workers is a bounded pool of goroutines. They are started as work comes, stay
// while there is work, and end when a whole tick passed without.
type workers struct {
	limit, queue int
	idle         chan func() // hands work, or nil to leave, to a waiting goroutine

	mu      sync.Mutex
	closed  bool
	busy    bool     // work came since the last rest
	started int      // goroutines
	waiting int      // of those, without work
	backlog []func() // oldest first
	group   sync.WaitGroup
}

func newWorkers(limit, queue int) workers {
	return workers{limit: limit, queue: queue, idle: make(chan func(), limit)}
}

// do runs f on a goroutine of the pool, now or when one is free. It reports
// false when too much is waiting already.
func (w *workers) do(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = true
	switch {
	case w.closed:
		return false
	case w.waiting > 0:
		w.waiting--
		w.idle <- f // has room for every worker
	case w.started < w.limit:
		w.started++
		w.group.Go(func() { w.work(f) })
	case len(w.backlog) < w.queue:
		w.backlog = append(w.backlog, f)
	default:
		return false
	}
	return true
}

// work ends when rest or close say so.
func (w *workers) work(f func()) {
	for f != nil {
		f()
		f = w.next()
	}
}

func (w *workers) next() func() {
	w.mu.Lock()
	switch {
	case w.closed:
		w.started--
		w.mu.Unlock()
		return nil
	case len(w.backlog) > 0:
		f := w.backlog[0]
		w.backlog[0] = nil
		w.backlog = w.backlog[1:]
		w.mu.Unlock()
		return f
	}
	w.waiting++
	w.mu.Unlock()
	return <-w.idle
}

// rest lets idle goroutines end if no work came since it was last called.
func (w *workers) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy {
		w.dismiss()
	}
	w.busy = false
}

// dismiss ends the waiting goroutines.
func (w *workers) dismiss() {
	for ; w.waiting > 0; w.waiting-- {
		w.started--
		w.idle <- nil
	}
}

// close drops what waits and ends each goroutine after what it does now.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.backlog = nil
	w.dismiss()
}

func (w *workers) wait() { w.group.Wait() }
