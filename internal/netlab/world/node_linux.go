package world

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A Node is one network namespace: a machine, as far as the network goes.
type Node struct {
	w    *World
	name string
	ns   string // as ip netns knows it
	file *os.File
}

// Name returns the name of the node within its World.
func (n *Node) Name() string { return n.name }

// Namespace returns the name of the namespace, as ip netns lists it.
func (n *Node) Namespace() string { return n.ns }

// Command is exec.CommandContext in the node. Whatever it leaves running ends
// with the World.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.ns, name}, args...)...)
}

// Run runs a program in the node to its end and returns what it wrote to
// standard output. If the program fails, so does the test.
func (n *Node) Run(name string, args ...string) string {
	n.w.t.Helper()
	return n.w.run(n, "", name, args...)
}

// Do calls f with the calling thread in the node: sockets that f itself opens
// belong to the node and keep doing so. A goroutine that f starts is elsewhere;
// net.Dial starts one unless the address is a literal, net.Listen and
// net.ListenPacket do not. For the same reason f must not end the test.
func (n *Node) Do(f func()) {
	n.w.t.Helper()
	if err := inNamespace(int(n.file.Fd()), f); err != nil {
		n.w.t.Fatalf("world: entering %s: %v", n.name, err)
	}
}

// inNamespace calls f on a thread that has entered a network namespace. The
// thread goes back, or is given up with its goroutine.
func inNamespace(fd int, f func()) error {
	result := make(chan error, 1)
	panicked := make(chan any, 1)
	go func() {
		defer close(result)
		runtime.LockOSThread()
		home, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer func() {
			if err := unix.Setns(home, unix.CLONE_NEWNET); err == nil {
				runtime.UnlockOSThread()
			}
			if p := recover(); p != nil {
				panicked <- p
			}
		}()
		f()
	}()
	err := <-result
	select {
	case p := <-panicked:
		panic(p)
	default:
		return err
	}
}

// ip runs lines of ip commands in the node.
func (n *Node) ip(format string, args ...any) {
	n.w.t.Helper()
	n.w.run(nil, fmt.Sprintf(format, args...), "ip", "-n", n.ns, "-batch", "-")
}

// nft loads a ruleset into the node.
func (n *Node) nft(rules string) {
	n.w.t.Helper()
	n.w.run(n, rules, "nft", "-f", "-")
}

// sysctl sets a value below net, like ipv4.ip_forward.
func (n *Node) sysctl(settings ...string) {
	n.w.t.Helper()
	var err error
	n.Do(func() {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err = os.WriteFile("/proc/sys/net/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0o644); err != nil {
				return
			}
		}
	})
	if err != nil {
		n.w.t.Fatalf("world: %s: %v", n.name, err)
	}
}

// bridgeOnly makes bridges of the node pass frames without asking the firewall,
// if this kernel can ask: one that translates addresses there as well would not
// see the second translation that a hairpin needs.
func (n *Node) bridgeOnly() {
	n.w.t.Helper()
	if _, err := os.Stat("/proc/sys/net/bridge"); err == nil {
		n.sysctl("bridge.bridge-nf-call-iptables=0", "bridge.bridge-nf-call-ip6tables=0", "bridge.bridge-nf-call-arptables=0")
	}
}

// run runs a program in a node, or in the namespace of the test if n is nil.
func (w *World) run(n *Node, stdin, name string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var err error
	if n == nil {
		err = cmd.Start()
	} else {
		n.Do(func() { err = cmd.Start() }) // a child is in the namespace of the thread that forks
	}
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		w.t.Fatalf("world: %s: %v\n%s%s", strings.Join(append([]string{name}, args...), " "), err, errs.String(), stdin)
	}
	return out.String()
}
