package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// measureTransfer sends a large amount through a tunnel command, to the device
// and from it, and compares what arrived.
func measureTransfer(ctx context.Context, b *bed) (figures []figure, err error) {
	amount := int64(b.amount(1<<30, 64<<20))
	sink, err := listenTCP(digest)
	if err != nil {
		return nil, err
	}
	defer sink.close()
	origin, err := listenTCP(source)
	if err != nil {
		return nil, err
	}
	defer origin.close()
	local, done, err := b.forward(ctx, sink, origin)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	for i, move := range []func(net.Conn, int64) error{upload, download} {
		start := time.Now()
		failed := 0.0
		note := ""
		if err := dialAnd(ctx, local[i], func(conn net.Conn) error { return move(conn, amount) }); err != nil {
			failed, note = 1, err.Error()
		} else {
			note = number(megabits(amount, time.Since(start))) + " Mbit/s with hashing"
		}
		figures = append(figures, figure{
			Name: fmt.Sprintf("%d MiB %s, sha256 differs", amount>>20, [...]string{"to the device", "from the device"}[i]),
			Unit: "times", Value: failed, Goal: errorFree, Note: note,
		})
	}
	return figures, nil
}

// forward starts a site with a tunnel to each target and returns the local
// addresses, and how to stop it all.
func (b *bed) forward(ctx context.Context, targets ...*target) (local []string, done func() error, err error) {
	var services, forwards []string
	for i, t := range targets {
		name := "s" + strconv.Itoa(i)
		port, err := freePort()
		if err != nil {
			return nil, nil, err
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		services, forwards, local = append(services, t.service(name)), append(forwards, name+":"+addr), append(local, addr)
	}
	s, err := b.newSite(ctx, services...)
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.tunnel(ctx, forwards...); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return local, s.close, nil
}

// dialAnd connects to a TCP address and runs use until it is done or ctx ends.
func dialAnd(ctx context.Context, addr string, use func(net.Conn) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return during(ctx, conn, func() error { return use(conn) })
}

// during runs use on conn and interrupts it when ctx ends.
func during(ctx context.Context, conn net.Conn, use func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if err := use(); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

const transferSeed = 1

func upload(conn net.Conn, amount int64) error {
	if err := (order{Seed: transferSeed, Bytes: uint64(amount)}).fill(conn); err != nil {
		return err
	}
	if err := closeWrite(conn); err != nil {
		return err
	}
	sum, err := io.ReadAll(conn)
	if err == nil && !bytes.Equal(sum, patternSum(transferSeed, amount)) {
		err = errWrongBytes
	}
	return err
}

func download(conn net.Conn, amount int64) error {
	if err := (order{Seed: transferSeed, Bytes: uint64(amount)}).send(conn); err != nil {
		return err
	}
	return check(conn, transferSeed, amount)
}

// measureParallel sends different bytes through many connections of one session
// at once, and wants each to get its own back.
func measureParallel(ctx context.Context, b *bed) (figures []figure, err error) {
	count, amount := b.amount(200, 50), int64(b.amount(5<<20, 256<<10))
	server, err := listenTCP(echo)
	if err != nil {
		return nil, err
	}
	defer server.close()
	local, done, err := b.forward(ctx, server)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	start := time.Now()
	failures := make([]error, count)
	var work sync.WaitGroup
	for i := range count {
		work.Go(func() { // ends with the connection or ctx
			failures[i] = dialAnd(ctx, local[0], func(conn net.Conn) error { return roundTrip(conn, uint64(i), amount) })
		})
	}
	work.Wait()
	failed := 0.0
	note := number(megabits(int64(count)*amount, time.Since(start))) + " Mbit/s each way"
	for _, err := range failures {
		if err != nil {
			failed, note = failed+1, err.Error()
		}
	}
	return []figure{{
		Name:  fmt.Sprintf("%d connections, %d KiB each way, differ", count, amount>>10),
		Value: failed, Unit: "of them", Goal: errorFree, Note: note,
	}}, nil
}

// roundTrip sends a pattern and expects it back.
func roundTrip(conn net.Conn, seed uint64, amount int64) error {
	sent := make(chan error, 1)
	go func() { // ends with the connection
		err := (order{Seed: seed, Bytes: uint64(amount)}).fill(conn)
		if err == nil {
			err = closeWrite(conn)
		}
		sent <- err
	}()
	err := check(conn, seed, amount)
	if err != nil {
		_ = conn.Close() // the sender must not wait for an echo that has ended
	}
	return errors.Join(err, <-sent)
}
