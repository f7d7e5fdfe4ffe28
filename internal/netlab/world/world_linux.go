package world

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Config says what a World consists of.
type Config struct {
	Sites []SiteConfig // at most 5
	V6    bool         // the basestation has IPv6 addresses too
	Wire  *Conditions  // of the basestation's uplink, both ways; nil: it has no Wire
	Seed  uint64       // of the wires
}

// A World is an internet. Its methods, and those of all that belongs to it,
// fail the test if they cannot do what they should; they are for the goroutine
// of the test and not for concurrent use, but for Command and Do of a Node,
// and for Wires.
type World struct {
	Sites []*Site
	Base  *Host // the machine of the basestation, with two addresses (Addr and Second)

	Wire *Wire // the uplink of the basestation, nil if the configuration has none

	t     testing.TB
	id    string
	nodes []*Node
	inet  *Node
	wires *Node // home of the wires' ends, if there are wires
	all   []*Wire
	seed  uint64
}

// worlds counts those of this process, for their names.
var worlds atomic.Int64

// New makes a World that ends with the test.
func New(t testing.TB, cfg Config) *World {
	t.Helper()
	for _, program := range []string{"ip", "nft", "conntrack", "ethtool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("world: %v", err)
		}
	}
	if len(cfg.Sites) > len(sitePrefixes) {
		t.Fatalf("world: %d sites, at most %d", len(cfg.Sites), len(sitePrefixes))
	}
	sweep()
	w := &World{t: t, id: fmt.Sprintf("lk%d-%d", os.Getpid(), worlds.Add(1)), seed: cfg.Seed}
	t.Cleanup(w.close)
	w.plan(cfg)
	w.makeNodes()
	w.connect(cfg)
	return w
}

// node plans a namespace; makeNodes makes it.
func (w *World) node(name string) *Node {
	n := &Node{w: w, name: name, ns: w.id + "-" + name}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *World) makeNodes() {
	w.t.Helper()
	var batch strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&batch, "netns add %s\n", n.ns)
	}
	w.run(nil, batch.String(), "ip", "-batch", "-")
	for _, n := range w.nodes {
		var err error
		if n.file, err = os.Open(filepath.Join(netnsDir, n.ns)); err != nil {
			w.t.Fatalf("world: %v", err)
		}
		// Without duplicate address detection, which takes a second.
		n.sysctl("ipv6.conf.all.accept_dad=0", "ipv6.conf.default.accept_dad=0")
		if n == w.wires {
			n.sysctl("ipv6.conf.default.disable_ipv6=1")
		}
	}
}

// close ends the wires, the programs that still run in the World, and the
// World.
func (w *World) close() {
	for _, wire := range w.all {
		wire.close()
	}
	var names []string
	for _, n := range w.nodes {
		names = append(names, n.ns)
		if n.file != nil {
			n.file.Close()
		}
	}
	if err := remove(names); err != nil {
		w.t.Errorf("world: %v", err)
	}
}

// netnsDir is where ip netns keeps names.
const netnsDir = "/run/netns"

// remove kills the programs that run in some namespaces and unnames these.
func remove(names []string) error {
	spaces := map[namespace]bool{}
	for _, name := range names {
		if ns, ok := namespaceAt(filepath.Join(netnsDir, name)); ok {
			spaces[ns] = true
		}
	}
	killIn(spaces)
	var errs []error
	for _, name := range names {
		path := filepath.Join(netnsDir, name)
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", path, err))
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// A namespace is told apart by device and inode of its file.
type namespace struct{ device, inode uint64 }

func namespaceAt(path string) (namespace, bool) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return namespace{uint64(st.Dev), st.Ino}, err == nil
}

// killIn kills the processes whose network namespace is one of these.
func killIn(spaces map[namespace]bool) {
	files, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil || len(spaces) == 0 {
		return
	}
	for _, file := range files {
		if ns, ok := namespaceAt(file); !ok || !spaces[ns] {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

var ownNames = regexp.MustCompile(`^lk(\d+)-\d+-`)

// sweep removes what tests left that were killed.
func sweep() {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return
	}
	var dead []string
	for _, e := range entries {
		m := ownNames.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if pid, err := strconv.Atoi(m[1]); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			dead = append(dead, e.Name())
		}
	}
	_ = remove(dead) // somebody else may sweep too
}
