package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// measureSize looks at a daemon that has nothing to do, and at the programs
// built for a small device.
func measureSize(ctx context.Context, b *bed) ([]figure, error) {
	idle, err := b.idleDaemon(ctx)
	if err != nil {
		return nil, err
	}
	small, err := b.smallPrograms(ctx)
	return append(idle, small...), err
}

// idleDaemon has one paired client, which has gone, and the default
// configuration.
func (b *bed) idleDaemon(ctx context.Context) (figures []figure, err error) {
	s, err := b.newSite(ctx, "ssh=tcp://127.0.0.1:22")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := pause(ctx, time.Duration(b.amount(10, 1))*time.Second); err != nil {
		return nil, err
	}
	u, err := s.daemon.usage()
	if err != nil {
		return nil, err
	}
	return []figure{
		{
			Name: "latchkeyd idle, resident", Value: float64(u.rss) / 1e6, Unit: "MB", Goal: atMost(25),
			Command: "grep VmRSS /proc/PID/status",
		},
	}, nil
}

func (b *bed) smallPrograms(ctx context.Context) ([]figure, error) {
	dir := filepath.Join(b.dir, "linux-arm")
	if err := b.build(ctx, dir, []string{"GOOS=linux", "GOARCH=arm"}); err != nil {
		return nil, err
	}
	var figures []figure
	for _, name := range []string{"latchkeyd", "latchkey"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return figures, err
		}
		figures = append(figures, figure{
			Name: name + " for linux/arm, stripped", Value: float64(info.Size()) / 1e6, Unit: "MB", Goal: atMost(14),
			Command: "GOOS=linux GOARCH=arm CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' ./cmd/" + name,
		})
	}
	return figures, nil
}
