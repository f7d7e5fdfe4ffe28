package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A way leads from an iperf3 client to the iperf3 server. Other tunnels to
// compare with are further ways.
type way struct {
	name  string
	port  int        // of 127.0.0.1
	ends  []*process // whose CPU time is counted
	rates []float64  // Mbit/s, one for each run
	cpu   []float64  // seconds for each GiB, all ends together
}

// measureTunnel runs iperf3 through latchkey tunnel and beside it, in turns, so
// that both meet the same disturbances.
func measureTunnel(ctx context.Context, b *bed) (figures []figure, err error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return nil, errors.New("iperf3 is needed for this figure and not installed")
	}
	serverPort, err := freePort()
	if err != nil {
		return nil, err
	}
	server, err := start("iperf3", "--server", "--bind", "127.0.0.1", "--port", strconv.Itoa(serverPort), "--forceflush")
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.stop() }() // a signal is how it ends
	if _, err := server.line(ctx, func(line string) bool { return strings.HasPrefix(line, "Server listening") }); err != nil {
		return nil, err
	}
	s, err := b.newSite(ctx, fmt.Sprintf("iperf=tcp://127.0.0.1:%d", serverPort))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	tunnelPort, err := freePort()
	if err != nil {
		return nil, err
	}
	tunnel, err := s.tunnel(ctx, fmt.Sprintf("iperf:%d", tunnelPort))
	if err != nil {
		return nil, err
	}
	for _, reverse := range []bool{false, true} {
		raw := &way{name: "loopback TCP", port: serverPort}
		ours := &way{name: "latchkey", port: tunnelPort, ends: []*process{s.daemon, tunnel}}
		if err := b.alternate(ctx, reverse, raw, ours); err != nil {
			return figures, err
		}
		figures = append(figures, b.compare(reverse, raw, ours)...)
	}
	return figures, nil
}

// compare makes figures of a tunnel and of what it is compared with.
func (b *bed) compare(reverse bool, raw, ours *way) []figure {
	direction, flag := "to the device", ""
	if reverse {
		direction, flag = "from the device", " --reverse"
	}
	command := fmt.Sprintf("iperf3 --client 127.0.0.1 --port PORT --time %d%s", int(b.length.Seconds()), flag)
	rate, loopback := median(ours.rates), median(raw.rates)
	return []figure{
		{
			Name: "one TCP stream " + direction, Value: rate, Unit: "Mbit/s", Goal: atLeast(400), Command: command,
			Note: notes(spread(ours.rates), number(median(ours.cpu))+" s of CPU per GiB, both programs"),
		},
		{Name: "  loopback TCP " + direction, Value: loopback, Unit: "Mbit/s", Command: command, Note: spread(raw.rates)},
		{Name: "  ratio", Value: 100 * rate / loopback, Unit: "%", Command: command},
	}
}

// alternate measures every way once in each run.
func (b *bed) alternate(ctx context.Context, reverse bool, ways ...*way) error {
	for run := range b.runs {
		for _, w := range ways {
			before, err := w.used()
			if err != nil {
				return err
			}
			bytes, rate, err := iperf(ctx, w.port, b.length, reverse)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			after, err := w.used()
			if err != nil {
				return err
			}
			w.rates = append(w.rates, rate)
			w.cpu = append(w.cpu, (after-before)/(bytes/(1<<30)))
			b.say("run %d of %d, reverse %v, %s: %s Mbit/s", run+1, b.runs, reverse, w.name, number(rate))
		}
	}
	return nil
}

// used is the CPU time of the way's ends so far.
func (w *way) used() (float64, error) {
	var sum float64
	for _, p := range w.ends {
		u, err := p.usage()
		if err != nil {
			return 0, err
		}
		sum += u.cpu
	}
	return sum, nil
}

// iperf runs one iperf3 client and returns what the receiver counted. The
// server takes one client at a time, and through a tunnel it may learn a little
// late that the last one has gone.
func iperf(ctx context.Context, port int, length time.Duration, reverse bool) (bytes, rate float64, err error) {
	seconds := strconv.Itoa(int(length.Seconds()))
	args := []string{"--client", "127.0.0.1", "--port", strconv.Itoa(port), "--time", seconds, "--json"}
	if reverse {
		args = append(args, "--reverse")
	}
	ctx, cancel := context.WithTimeout(ctx, length+30*time.Second)
	defer cancel()
	for {
		out, err := output(ctx, "", "iperf3", args...)
		if len(out) == 0 && err != nil {
			return 0, 0, err
		}
		bytes, rate, err = readIperf(out)
		if !errors.Is(err, errBusy) {
			return bytes, rate, err
		}
		select {
		case <-ctx.Done():
			return 0, 0, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

var errBusy = errors.New("the iperf3 server is busy")

// readIperf reads the JSON of an iperf3 client.
func readIperf(text []byte) (bytes, rate float64, err error) {
	var result struct {
		Error string
		End   struct {
			Received struct {
				Bytes float64
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return 0, 0, fmt.Errorf("result of iperf3: %w", err)
	}
	switch received := result.End.Received; {
	case strings.Contains(result.Error, "server is busy"):
		return 0, 0, errBusy
	case result.Error != "":
		return 0, 0, fmt.Errorf("iperf3: %s", result.Error)
	case received.Bytes <= 0:
		return 0, 0, errors.New("iperf3 received nothing")
	default:
		return received.Bytes, received.Rate / 1e6, nil
	}
}
