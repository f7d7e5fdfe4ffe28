package basestation

import (
	"context"
	"sync"

	"github.com/latchkey-dev/latchkey"
)

// A Presence knows which devices are attached. Its methods are called
// concurrently.
type Presence interface {
	// Put makes a the attachment of the device and returns the one before.
	Put(id latchkey.DeviceID, a Attachment) (old Attachment)
	// Remove takes a out, unless another has taken its place.
	Remove(id latchkey.DeviceID, a Attachment)
	// Get returns the attachment of a device.
	Get(id latchkey.DeviceID) (Attachment, bool)
	// Wait returns the attachment as soon as there is one, or the cause of ctx.
	Wait(ctx context.Context, id latchkey.DeviceID) (Attachment, error)
	// Len returns how many devices are attached.
	Len() int
}

// An Attachment is an attached device. Two of them are the same if they are ==.
type Attachment interface {
	// Key returns the key that the device proved.
	Key() latchkey.Fingerprint
	// Call sends a message of internal/signal to a resource of the device and
	// returns the body of the answer. A refusal is a *latchkey.RemoteError.
	Call(ctx context.Context, path string, body []byte) ([]byte, error)
	// End tells the device why, and ends the connection. It does not wait.
	End(code latchkey.Code)
}

// presence is the Presence of one process.
type presence struct {
	mu       sync.Mutex
	attached map[latchkey.DeviceID]Attachment
	waiting  map[latchkey.DeviceID]*vigil
}

// A vigil is what those who wait for one device have in common.
type vigil struct {
	over  chan struct{} // closed when the device attached
	found Attachment    // set before
	count int           // of those who wait
}

func newPresence() *presence {
	return &presence{
		attached: make(map[latchkey.DeviceID]Attachment),
		waiting:  make(map[latchkey.DeviceID]*vigil),
	}
}

func (p *presence) Put(id latchkey.DeviceID, a Attachment) (old Attachment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old = p.attached[id]
	p.attached[id] = a
	if v := p.waiting[id]; v != nil {
		v.found = a
		close(v.over)
		delete(p.waiting, id)
	}
	return old
}

func (p *presence) Remove(id latchkey.DeviceID, a Attachment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.attached[id] == a {
		delete(p.attached, id)
	}
}

func (p *presence) Get(id latchkey.DeviceID) (Attachment, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.attached[id]
	return a, ok
}

func (p *presence) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.attached)
}

func (p *presence) Wait(ctx context.Context, id latchkey.DeviceID) (Attachment, error) {
	p.mu.Lock()
	if a, ok := p.attached[id]; ok {
		p.mu.Unlock()
		return a, nil
	}
	v := p.waiting[id]
	if v == nil {
		v = &vigil{over: make(chan struct{})}
		p.waiting[id] = v
	}
	v.count++
	p.mu.Unlock()
	select {
	case <-v.over:
		return v.found, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.count--; v.count == 0 && p.waiting[id] == v {
		delete(p.waiting, id)
	}
	return nil, context.Cause(ctx)
}
