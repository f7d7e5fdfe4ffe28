package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// attachAtOnce is how many devices attach at a time: enough that neither side
// waits for the other, and below what a basestation takes from unproven sources.
const attachAtOnce = 64

// measureAttach attaches many devices to one basestation process, and looks at
// what they cost it.
func measureAttach(ctx context.Context, b *bed) (figures []figure, err error) {
	count := b.amount(10_000, 500)
	idle := time.Duration(b.amount(30, 3)) * time.Second
	if err := allowFiles(count); err != nil {
		return nil, err
	}
	f, err := newFleet(count)
	if err != nil {
		return nil, err
	}
	s, err := b.newStation(ctx, "", f.register)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	defer f.close()
	b.say("%d devices are registered", count)
	none, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	failed, first := each(ctx, count, attachAtOnce, func(ctx context.Context, i int) error { return f.attach(ctx, s, i) })
	took := time.Since(began)
	after, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	b.say("attached in %v; %s MB, %s MB at most", took.Round(time.Millisecond), number(float64(after.rss)/1e6), number(float64(after.peak)/1e6))
	rested := time.Now()
	if err := pause(ctx, idle); err != nil {
		return nil, err
	}
	last, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(count)
	cpu := 100 * (last.cpu - after.cpu) / time.Since(rested).Seconds()
	return []figure{
		countErrors(fmt.Sprintf("%d devices, failed attaches", count), failed, first),
		{Name: "  of them gone after the rest", Value: float64(count) - float64(failed) - last.devices, Goal: errorFree},
		{
			Name: "  attached", Value: float64(count-int(failed)) / took.Seconds(), Unit: "/s",
			Note: notes(fmt.Sprintf("%d at a time", attachAtOnce), fmt.Sprintf("%s ms of the basestation's CPU each", number(1000*(after.cpu-none.cpu)/n)), "devices on the same machine"),
		},
		{
			Name: "  resident memory for each", Value: float64(last.rss-none.rss) / n / 1024, Unit: "KiB", Goal: atMost(80),
			Note: notes(fmt.Sprintf("%s MB with none, %s MB after %v of rest, %s MB at most", number(float64(none.rss)/1e6), number(float64(last.rss)/1e6), idle, number(float64(last.peak)/1e6))),
		},
		{
			Name: "  goroutines for each", Value: (last.goroutines - none.goroutines) / n, Goal: atMost(5),
			Note: number(none.goroutines) + " with none",
		},
		{Name: "  CPU while they rest", Value: cpu, Unit: "% of a core", Note: fmt.Sprintf("over %v", idle)},
	}, nil
}

// A load is what a basestation holds.
type load struct {
	usage
	devices, goroutines float64
}

func (s *station) look(ctx context.Context) (load, error) {
	m, err := s.metrics(ctx)
	if err != nil {
		return load{}, err
	}
	u, err := s.run.usage()
	return load{usage: u, devices: m[metricDevices], goroutines: m[metricGoroutines]}, err
}
