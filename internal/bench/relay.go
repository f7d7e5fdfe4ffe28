package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/client"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/internal/registry"
)

const (
	relayDevices = 50 // each takes 16 introductions at once
	relayClients = 25 // each may have 32 introductions
	// relayAtOnce is how many sessions begin at a time.
	relayAtOnce = 16
	// noRate stands for no limit: loopback is slower.
	noRate = `{relay: {rate: 16GiB}}`
)

// A crossing is clients and devices that reach each other through the relay of
// a basestation only. They are in this process, the basestation is not.
type crossing struct {
	station *station
	fleet   *fleet
	devices *units
	clients []*client.Client
	token   latchkey.ConnectToken
}

// newCrossing makes one with a service for each target, by its name. Whoever
// makes a crossing must close it.
func (b *bed) newCrossing(ctx context.Context, devices, clients int, targets map[string]*target) (x *crossing, err error) {
	x = &crossing{}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	if x.fleet, err = newFleet(devices); err != nil {
		return x, err
	}
	x.fleet.home = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // where their connections to the relay come from
	x.station, err = b.newStation(ctx, noRate, func(store *registry.Store) error {
		_, token, err := store.CreateToken(registry.OperatorToken{Scope: registry.Scope{Product: deviceID(0).Product}, Added: time.Now()})
		x.token = token
		return errors.Join(err, x.fleet.register(store))
	})
	if err != nil {
		return x, err
	}
	var services []device.Service
	for name, t := range targets {
		addr := t.listener.Addr()
		services = append(services, device.Service{ID: name, Target: addr.Network() + "://" + addr.String()})
	}
	if x.devices, err = x.fleet.serve(ctx, x.station, services...); err != nil {
		return x, err
	}
	for i := range clients {
		c := &client.Client{Dir: filepath.Join(x.station.dir, "client"+strconv.Itoa(i)), NoDiscovery: true, Logger: quiet}
		x.clients = append(x.clients, c)
	}
	_, err = x.station.until(ctx, metricDevices, float64(devices))
	return x, err
}

func (x *crossing) close() error {
	var errs []error
	for _, c := range x.clients {
		errs = append(errs, c.Close())
	}
	if x.devices != nil {
		errs = append(errs, x.devices.close())
	}
	if x.station != nil {
		errs = append(errs, x.station.close())
	}
	return errors.Join(errs...)
}

// dial opens a session from a client to a device.
func (x *crossing) dial(ctx context.Context, from, to int) (*client.Conn, error) {
	known, err := x.clients[from].OpenKnown()
	if err != nil {
		return nil, err
	}
	name := "d" + strconv.Itoa(to)
	err = known.Add(client.Device{
		Alias: name, ID: deviceID(to), Key: x.fleet.keys[to].Fingerprint(),
		Basestations: []string{x.station.addr}, BasestationKey: x.station.key, Token: x.token, Added: time.Now(),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return x.clients[from].DialWith(ctx, name, client.DialOptions{Via: client.ViaRelay})
}

// measureRelay measures one session through the relay alone, and then many at
// once.
func measureRelay(ctx context.Context, b *bed) ([]figure, error) {
	figures, err := b.relayOne(ctx)
	if err != nil {
		return figures, err
	}
	more, err := b.relayMany(ctx)
	return append(figures, more...), err
}

// relayOne moves bytes through one tunnel and compares what arrived.
func (b *bed) relayOne(ctx context.Context) (figures []figure, err error) {
	amount := int64(b.amount(256<<20, 8<<20))
	targets := make(map[string]*target)
	for name, handle := range map[string]func(net.Conn) error{"sink": digest, "source": source} {
		t, err := listenTCP(handle)
		if err != nil {
			return nil, err
		}
		defer t.close()
		targets[name] = t
	}
	x, err := b.newCrossing(ctx, 1, 1, targets)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	conn, err := x.dial(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, way := range []struct {
		name, service string
		move          func(net.Conn, int64) error
	}{{"to the device", "sink", upload}, {"from the device", "source", download}} {
		var rates []float64
		before, err := x.station.run.usage()
		if err != nil {
			return figures, err
		}
		for run := range min(b.runs, 3) {
			began := time.Now()
			if err := through(ctx, conn, way.service, func(c net.Conn) error { return way.move(c, amount) }); err != nil {
				return figures, err
			}
			rates = append(rates, megabits(amount, time.Since(began)))
			b.say("run %d of %d, %s: %s Mbit/s", run+1, min(b.runs, 3), way.name, number(rates[run]))
		}
		after, err := x.station.run.usage()
		if err != nil {
			return figures, err
		}
		perGiB := (after.cpu - before.cpu) / (float64(amount) * float64(len(rates)) / (1 << 30))
		figures = append(figures, figure{
			Name: fmt.Sprintf("one tunnel, %d MiB %s", amount>>20, way.name), Value: median(rates), Unit: "Mbit/s",
			Note: notes(spread(rates), number(perGiB)+" s of the basestation's CPU per GiB", "path "+conn.Path().Kind, "sha256 equal", "rate limit of the relay lifted; both ends in one process"),
		})
	}
	return figures, nil
}

// through opens a tunnel in a session, uses it, and closes it.
func through(ctx context.Context, session *client.Conn, service string, use func(net.Conn) error) error {
	conn, err := session.Tunnel(ctx, service)
	if err != nil {
		return err
	}
	defer conn.Close()
	return during(ctx, conn, func() error { return use(conn) })
}

// relayMany opens sessions of many clients with many devices, and lets each move
// a little when all are there.
func (b *bed) relayMany(ctx context.Context) (figures []figure, err error) {
	count, amount := b.amount(500, 50), int64(64<<10)
	if err := allowFiles(8 * count); err != nil {
		return nil, err
	}
	server, err := listenTCP(echo)
	if err != nil {
		return nil, err
	}
	defer server.close()
	x, err := b.newCrossing(ctx, relayDevices, relayClients, map[string]*target{"echo": server})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	before, err := x.station.look(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	sessions, times, failed, first := x.dialMany(ctx, count)
	dialling := time.Since(began)
	defer closeAll(sessions)
	b.say("%d sessions in %v, %d failed", count, dialling.Round(time.Millisecond), failed)
	held, err := x.station.metrics(ctx)
	if err != nil {
		return nil, err
	}
	began = time.Now()
	broken, why := each(ctx, count, count, func(ctx context.Context, i int) error {
		if sessions[i] == nil {
			return nil // counted already
		}
		return through(ctx, sessions[i], "echo", func(c net.Conn) error { return roundTrip(c, uint64(i), amount) })
	})
	moving := time.Since(began)
	if first == nil {
		first = why
	}
	after, err := x.station.look(ctx)
	if err != nil {
		return nil, err
	}
	done, err := x.station.metrics(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		countErrors(fmt.Sprintf("%d relayed sessions at once, errors", count), failed+broken, first),
		{Name: "  relayed at once", Value: held[metricGrants], Note: "grants of the relay before any byte of a tunnel moved"},
		{
			Name: "  begun", Value: float64(count) / dialling.Seconds(), Unit: "/s",
			Note: fmt.Sprintf("%d at a time; p50 %s ms, p95 %s ms", relayAtOnce, number(milliseconds(percentile(times, 50))), number(milliseconds(percentile(times, 95)))),
		},
		{Name: fmt.Sprintf("  %d KiB each way in each", amount>>10), Value: moving.Seconds(), Unit: "s"},
		{
			Name: "  datagrams that the relay dropped", Value: done[metricDropped],
			Note: fmt.Sprintf("of %s; %s answers withheld", number(done[metricPackets]), number(done[metricRefused])),
		},
		{
			Name: "  memory of the basestation for each", Value: float64(after.rss-before.rss) / float64(count) / 1024, Unit: "KiB",
			Note: number(float64(after.rss)/1e6) + " MB",
		},
	}, nil
}

// dialMany opens sessions, no pair of client and device twice, and returns them
// and how long each took.
func (x *crossing) dialMany(ctx context.Context, count int) (sessions []*client.Conn, times []time.Duration, failed int64, first error) {
	sessions, times = make([]*client.Conn, count), make([]time.Duration, count)
	failed, first = each(ctx, count, relayAtOnce, func(ctx context.Context, i int) (err error) {
		began := time.Now()
		sessions[i], err = x.dial(ctx, i%relayClients, (i+i/relayDevices)%relayDevices)
		times[i] = time.Since(began)
		return err
	})
	return sessions, times, failed, first
}

func closeAll(sessions []*client.Conn) {
	_, _ = each(context.Background(), len(sessions), relayAtOnce, func(_ context.Context, i int) error {
		if sessions[i] == nil {
			return nil
		}
		return sessions[i].Close()
	})
}
