package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stopTime  = 10 * time.Second // a process has this long to stop before it is killed
	readyTime = 20 * time.Second // and this long to say that it is ready
	tailLines = 20               // of its output are kept for errors
)

// A process is a running child with its output.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all output is read

	mu    sync.Mutex
	lines []string // the last that it wrote
	wait  []await  // that were not seen yet
	err   error    // how it ended
}

// An await is somebody who waits for a line.
type await struct {
	match func(line string) bool
	found chan string // has room for one
}

// start runs a program. Whoever starts it must stop it.
func start(name string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(name), cmd: exec.Command(name, args...), done: make(chan struct{})}
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.WaitDelay = stopTime
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(out) }) // ends when the process has
	go func() {                        // ends with the process
		err := p.cmd.Wait()
		_ = in.Close()
		reading.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

func (p *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines[max(0, len(p.lines)-tailLines+1):], lines.Text())
		p.wait = slices.DeleteFunc(p.wait, func(a await) bool {
			if !a.match(lines.Text()) {
				return false
			}
			a.found <- lines.Text()
			return true
		})
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, out) // after a line too long to be one
}

// line returns the first line, of those kept and those to come, that match
// accepts.
func (p *process) line(ctx context.Context, match func(string) bool) (string, error) {
	found := make(chan string, 1)
	p.mu.Lock()
	if i := slices.IndexFunc(p.lines, match); i >= 0 {
		found <- p.lines[i]
	} else {
		p.wait = append(p.wait, await{match, found})
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	select {
	case line := <-found:
		return line, nil
	case <-p.done:
		return "", fmt.Errorf("%s ended before it was ready: %w", p.name, p.failure())
	case <-ctx.Done():
		return "", fmt.Errorf("%s did not get ready: %w; it said: %s", p.name, ctx.Err(), p.tail())
	}
}

// tail is what the process wrote last.
func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "; ")
}

// failure is how a process ended that should not have.
func (p *process) failure() error {
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err == nil {
		err = errors.New("it ended without an error")
	}
	return fmt.Errorf("%w; it said: %s", err, p.tail())
}

// stop asks the process to end and kills it if it does not. It may be called
// twice. The error says that it ended otherwise than well.
func (p *process) stop() error {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-p.done:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, stopTime)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// usage tells what the process holds now.
func (p *process) usage() (usage, error) {
	u, err := usageOf(p.cmd.Process.Pid)
	if err != nil {
		return u, fmt.Errorf("%s: %w", p.name, err)
	}
	return u, nil
}

// output runs a program to its end and returns what it wrote to stdout.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = stopTime
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(append([]string{filepath.Base(name)}, args...), " "), err, oneLine(complaint.String()))
	}
	return out, nil
}
