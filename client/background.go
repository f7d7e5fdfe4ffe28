package client

import "sync"

// A background is goroutines that nobody waits for before Client.Close. The
// zero background is ready.
type background struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// run starts f on a goroutine of its own, unless close was called.
func (b *background) run(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.group.Go(f)
	}
	return !b.closed
}

// close takes no more and waits for those that run.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.group.Wait()
}
