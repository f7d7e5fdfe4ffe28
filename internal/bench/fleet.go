package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/coap"
	"github.com/latchkey-dev/latchkey/internal/packet"
	"github.com/latchkey-dev/latchkey/internal/registry"
	"github.com/latchkey-dev/latchkey/internal/signal"
	"github.com/latchkey-dev/latchkey/internal/uplink"
)

// A fleet is devices as a basestation sees them: keys that it has in its
// registry.
type fleet struct {
	keys []*latchkey.Identity
	legs []*leg
	home netip.Addr // where all of them are; zero: each at an address of its own
}

// A leg is the connection of one device, and its socket.
type leg struct {
	up     *uplink.Uplink
	socket *wire
}

func newFleet(count int) (*fleet, error) {
	f := &fleet{keys: make([]*latchkey.Identity, count), legs: make([]*leg, count)}
	_, err := each(context.Background(), count, 4, func(_ context.Context, i int) (err error) {
		f.keys[i], err = latchkey.NewIdentity()
		return err
	})
	return f, err
}

func deviceID(i int) latchkey.DeviceID {
	return latchkey.DeviceID{Product: "bench", Device: "d" + strconv.Itoa(i)}
}

// at is where a device is.
func (f *fleet) at(i int) netip.Addr {
	if f.home.IsValid() {
		return f.home
	}
	return address(i)
}

// address makes an address of a number: all of 127.0.0.0/8 is this machine.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1 + byte(i>>16), byte(i >> 8), byte(i)})
}

// register writes all devices into a registry. Changes that wait for the disk
// together are written together.
func (f *fleet) register(store *registry.Store) error {
	_, err := each(context.Background(), len(f.keys), 512, func(_ context.Context, i int) error {
		return store.AddDevice(deviceID(i), registry.Key{
			Fingerprint: f.keys[i].Fingerprint(),
			Purpose:     registry.Operational, Origin: registry.Manual, State: registry.Active, Added: time.Now(),
		})
	})
	return err
}

// attach connects a device with DTLS, and attaches it.
func (f *fleet) attach(ctx context.Context, s *station, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	socket, err := newWire(f.at(i))
	if err != nil {
		return err
	}
	up, err := uplink.Dial(ctx, uplink.Config{
		Identity: f.keys[i], Addrs: []string{s.addr}, Key: s.key, Socket: socket, Transports: uplink.UDP, Log: quiet,
	})
	if err != nil {
		socket.close()
		return err
	}
	f.legs[i] = &leg{up, socket}
	hello := &signal.Attach{ID: deviceID(i), Version: "bench", Time: time.Now()}
	return uplink.Call(ctx, up.CoAP(), coap.POST, signal.PathAttach, hello, &signal.Attached{})
}

// close ends all connections.
func (f *fleet) close() {
	_, _ = each(context.Background(), len(f.legs), 64, func(_ context.Context, i int) error {
		if l := f.legs[i]; l != nil {
			l.up.Close()
			l.socket.close()
		}
		return nil
	})
}

// each calls do for 0 to count-1, some at once, and returns how many failed and
// one of the failures. It ends early with ctx.
func each(ctx context.Context, count, atOnce int, do func(ctx context.Context, i int) error) (failed int64, first error) {
	var next, failures atomic.Int64
	var once sync.Once
	var work sync.WaitGroup
	for range atOnce {
		work.Go(func() { // ends when all are done
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				err := context.Cause(ctx)
				if err == nil {
					err = do(ctx, int(i))
				}
				if err != nil {
					failures.Add(1)
					once.Do(func() { first = fmt.Errorf("%d: %w", i, err) })
				}
			}
		})
	}
	work.Wait()
	return failures.Load(), first
}

// A wire is a UDP socket for one uplink, as small as it can be.
type wire struct {
	conn    *net.UDPConn
	deliver atomic.Pointer[func([]byte, packet.Meta)]
	done    chan struct{} // closed when it is not read any more
}

func newWire(from netip.Addr) (*wire, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn, done: make(chan struct{})}
	go w.read() // ends with close
	return w, nil
}

func (w *wire) read() {
	defer close(w.done)
	b := make([]byte, 2048)
	for {
		n, from, err := w.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if deliver := w.deliver.Load(); deliver != nil {
			(*deliver)(b[:n], packet.Meta{Src: from})
		}
	}
}

func (w *wire) close() {
	_ = w.conn.Close()
	<-w.done
}

// Send implements uplink.Socket.
func (w *wire) Send(b []byte, to netip.AddrPort, _ netip.Addr) error {
	_, err := w.conn.WriteToUDPAddrPort(b, to)
	return err
}

// Register implements uplink.Socket for one remote address.
func (w *wire) Register(_ netip.AddrPort, deliver func([]byte, packet.Meta)) (unregister func()) {
	w.deliver.Store(&deliver)
	return func() { w.deliver.CompareAndSwap(&deliver, nil) }
}

// allowFiles makes room for that many sockets.
func allowFiles(count int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	need := uint64(count) + 1000
	if limit.Cur >= need {
		return nil
	}
	limit.Cur, limit.Max = need, max(limit.Max, need)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%d open files are needed: %w", need, err)
	}
	return nil
}
