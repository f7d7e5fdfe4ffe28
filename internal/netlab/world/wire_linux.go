package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Wire is a cable with conditions: a program that carries frames between two
// interfaces. Its methods may be called from any goroutine.
type Wire struct {
	out, in *direction
	ends    [2]int // packet sockets
	stop    [2]*os.File
	done    sync.WaitGroup
	once    sync.Once
}

// Traffic counts the frames of one direction.
type Traffic struct {
	Frames, Bytes uint64 // that came
	Lost          uint64 // by the conditions
	Dropped       uint64 // because the far interface took no more
}

// Set replaces the conditions of both directions, for the frames to come.
// Those under way arrive as they would have.
func (w *Wire) Set(c Conditions) { w.SetEach(c, c) }

// SetEach replaces the conditions of what the site sends and of what it gets.
func (w *Wire) SetEach(out, in Conditions) {
	w.out.conditions.Store(&out)
	w.in.conditions.Store(&in)
}

// Traffic returns the counts of what the site sent and what was sent to it.
func (w *Wire) Traffic() (out, in Traffic) { return w.out.traffic(), w.in.traffic() }

// cable joins an interface of node a to one of node b, by a Wire if there are
// conditions. Those for "out" apply from b to a.
func (w *World) cable(a *Node, aDev string, b *Node, bDev string, c *Conditions) *Wire {
	w.t.Helper()
	const veth = "link add name %s netns %s type veth peer name %s netns %s\n"
	if c == nil {
		w.run(nil, fmt.Sprintf(veth, aDev, a.ns, bDev, b.ns), "ip", "-batch", "-")
		return nil
	}
	near, far := aDev+"0", aDev+"1"
	w.run(nil, fmt.Sprintf(veth, aDev, a.ns, near, w.wires.ns)+fmt.Sprintf(veth, bDev, b.ns, far, w.wires.ns), "ip", "-batch", "-")
	w.wires.ip("link set dev %s up\nlink set dev %s up", near, far)
	// Frames cross the program as they are: whole, and with their checksums.
	for _, end := range []struct {
		n   *Node
		dev string
	}{{a, aDev}, {b, bDev}} {
		w.run(end.n, "", "ethtool", "-K", end.dev, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
	}
	var wire *Wire
	var err error
	w.wires.Do(func() { wire, err = newWire(near, far, w.seed+uint64(len(w.all))) })
	if err != nil {
		w.t.Fatalf("world: wire %s: %v", aDev, err)
	}
	w.all = append(w.all, wire)
	wire.Set(*c)
	wire.run()
	return wire
}

// newWire opens both ends in the namespace of the caller. The direction out is
// from the far end to the near one.
func newWire(near, far string, seed uint64) (*Wire, error) {
	w := &Wire{ends: [2]int{-1, -1}}
	for i, dev := range []string{near, far} {
		fd, err := openEnd(dev)
		if err != nil {
			return nil, errors.Join(err, w.closeEnds())
		}
		w.ends[i] = fd
	}
	var err error
	if w.stop[0], w.stop[1], err = os.Pipe(); err != nil {
		return nil, errors.Join(err, w.closeEnds())
	}
	start := time.Now()
	w.in = &direction{from: w.ends[0], to: w.ends[1], stop: int(w.stop[0].Fd()), lane: newLane(seed, 0), start: start}
	w.out = &direction{from: w.ends[1], to: w.ends[0], stop: int(w.stop[0].Fd()), lane: newLane(seed, 1), start: start}
	return w, nil
}

// openEnd opens a packet socket that gets what an interface receives and sends
// by it.
func openEnd(dev string) (int, error) {
	const socketBuffer = 16 << 20
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	index, err := indexOf(dev)
	for _, set := range []struct{ level, option, value int }{
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer},
	} {
		if err == nil {
			err = unix.SetsockoptInt(fd, set.level, set.option, set.value)
		}
	}
	if err == nil {
		all := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL) // in network order
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all), Ifindex: index})
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// indexOf returns the index of an interface in the namespace of the thread.
func indexOf(dev string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(dev)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("%s: %w", dev, err)
	}
	return int(req.Uint32()), nil
}

func (w *Wire) run() {
	w.done.Go(w.in.run)
	w.done.Go(w.out.run)
}

func (w *Wire) close() {
	w.once.Do(func() {
		w.stop[1].Close()
		w.done.Wait()
		w.stop[0].Close()
		_ = w.closeEnds()
	})
}

func (w *Wire) closeEnds() error {
	var errs []error
	for _, fd := range w.ends {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// A frame waits for its time. Frames of the same time keep their order.
type frame struct {
	due   time.Duration
	bytes []byte
	copy  bool // bytes belong to another frame too
}

// A direction carries frames one way, on a goroutine of its own.
type direction struct {
	from, to, stop int
	start          time.Time
	conditions     atomic.Pointer[Conditions]
	lane           *lane
	waiting        []frame // by due
	free           [][]byte

	frames, bytes, lost, dropped atomic.Uint64
}

func (d *direction) traffic() Traffic {
	return Traffic{Frames: d.frames.Load(), Bytes: d.bytes.Load(), Lost: d.lost.Load(), Dropped: d.dropped.Load()}
}

// run waits for frames and for the time of the next one with the precision of
// the kernel's timers, which Go's own waiting would round to milliseconds.
func (d *direction) run() {
	urgent()
	poll := []unix.PollFd{{Fd: int32(d.from), Events: unix.POLLIN}, {Fd: int32(d.stop), Events: unix.POLLIN}}
	for {
		d.deliver()
		var timeout *unix.Timespec
		if len(d.waiting) > 0 {
			ts := unix.NsecToTimespec(max(0, int64(d.waiting[0].due-time.Since(d.start))))
			timeout = &ts
		}
		if _, err := unix.Ppoll(poll, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if poll[1].Revents != 0 {
			return
		}
		if poll[0].Revents != 0 {
			d.receive()
		}
	}
}

// urgent makes the thread of the goroutine run before others, where that is
// allowed, so that a busy machine does not stretch the delays. The thread ends
// with the goroutine.
func urgent() {
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
}

// batch is how many frames are taken before those that are due are sent.
const batch = 32

// maxFrame holds any frame of an interface whose segmentation is off.
const maxFrame = 9216

func (d *direction) receive() {
	c := d.conditions.Load()
	for range batch {
		b := d.buffer()
		n, err := unix.Read(d.from, b)
		if err != nil {
			d.free = append(d.free, b)
			return // nothing more, or the interface is down for a while
		}
		d.frames.Add(1)
		d.bytes.Add(uint64(n))
		d.enqueue(c, b[:n])
	}
}

func (d *direction) enqueue(c *Conditions, b []byte) {
	now := time.Since(d.start)
	if neighbours(b) && c.Loss < 1 {
		d.insert(frame{due: now + c.Delay, bytes: b})
		return
	}
	due, copies := d.lane.fate(c, now, len(b))
	switch copies {
	case 0:
		d.lost.Add(1)
		d.free = append(d.free, b[:cap(b)])
	case 1:
		d.insert(frame{due: due[0], bytes: b})
	default:
		d.insert(frame{due: due[0], bytes: b})
		d.insert(frame{due: due[1], bytes: slices.Clone(b), copy: true})
	}
}

// insert keeps the frames sorted. Most come last.
func (d *direction) insert(f frame) {
	i := len(d.waiting)
	for i > 0 && d.waiting[i-1].due > f.due {
		i--
	}
	d.waiting = slices.Insert(d.waiting, i, f)
}

// deliver sends what is due.
func (d *direction) deliver() {
	sent := 0
	for ; sent < len(d.waiting); sent++ {
		f := d.waiting[sent]
		if f.due > time.Since(d.start) {
			break
		}
		if _, err := unix.Write(d.to, f.bytes); err != nil {
			d.dropped.Add(1)
		}
		if !f.copy {
			d.free = append(d.free, f.bytes[:cap(f.bytes)])
		}
	}
	d.waiting = slices.Delete(d.waiting, 0, sent)
}

func (d *direction) buffer() []byte {
	if n := len(d.free); n > 0 {
		b := d.free[n-1]
		d.free = d.free[:n-1]
		return b
	}
	return make([]byte, maxFrame)
}

// neighbours reports whether a frame belongs to the link and not to the path:
// ARP, and IPv6 neighbour discovery. Losing those would stop everything for a
// second, which no link of an internet provider does.
func neighbours(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_ARP:
		return true
	case unix.ETH_P_IPV6:
		return len(b) > 54 && b[20] == unix.IPPROTO_ICMPV6 && b[54] >= 133 && b[54] <= 137
	}
	return false
}
