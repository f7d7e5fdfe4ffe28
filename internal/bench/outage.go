package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// returnTime is how long devices may take to come back.
const returnTime = 60 * time.Second

// measureOutage kills a basestation under devices that have attached to it, and
// starts it again a little later: so soon that no device has noticed, and after
// half a minute.
func measureOutage(ctx context.Context, b *bed) (figures []figure, err error) {
	count := b.amount(2000, 100)
	if err := allowFiles(2 * count); err != nil {
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
	devices, err := f.serve(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, devices.close()) }()
	took, err := s.until(ctx, metricDevices, float64(count))
	if err != nil {
		return nil, err
	}
	b.say("%d devices are attached, after %v", count, took.Round(time.Millisecond))
	for _, length := range []time.Duration{3 * time.Second, time.Duration(b.amount(30, 10)) * time.Second} {
		more, err := b.outage(ctx, s, count, length)
		if figures = append(figures, more...); err != nil {
			return figures, err
		}
	}
	return figures, nil
}

// outage is one of them.
func (b *bed) outage(ctx context.Context, s *station, count int, length time.Duration) ([]figure, error) {
	if err := s.kill(); err != nil {
		return nil, err
	}
	if err := pause(ctx, length); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	before, err := s.run.usage()
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, 3*returnTime)
	defer cancel()
	all, err := s.until(waiting, metricDevices, float64(count))
	if err != nil {
		return nil, err
	}
	after, err := s.run.usage()
	if err != nil {
		return nil, err
	}
	b.say("away for %v: back after %v", length, all.Round(time.Millisecond))
	return []figure{
		{
			Name:  fmt.Sprintf("%d devices back after %v without a basestation", count, length),
			Value: all.Seconds(), Unit: "s", Goal: atMost(returnTime.Seconds()), Note: "counted from its return",
		},
		{
			Name: "  resident memory at most", Value: float64(after.peak) / 1e6, Unit: "MB",
			Note: number(float64(before.rss)/1e6) + " MB with none",
		},
		{Name: "  CPU of the basestation", Value: after.cpu - before.cpu, Unit: "s"},
	}, nil
}
