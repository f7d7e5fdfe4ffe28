package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const modulePath = "github.com/latchkey-dev/latchkey"

// programs are what is measured.
var programs = []string{"latchkeyd", "latchkey", "latchkey-basestation"}

// stripped are the flags of a release build.
var stripped = []string{"build", "-trimpath", "-ldflags", "-s -w"}

// A bed is what all measurements need: the programs, a directory to work in,
// and the flags.
type bed struct {
	options
	root     string // of the repository
	bin      string // directory with the programs
	dir      string // removed at the end
	revision string
	progress io.Writer
	sites    int
}

func newBed(ctx context.Context, o options, progress io.Writer) (*bed, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return nil, err
	}
	b := &bed{options: o, root: root, bin: o.bin, dir: dir, progress: progress, revision: revision(ctx, root)}
	if b.bin == "" {
		b.bin = filepath.Join(dir, "bin")
		err = b.build(ctx, b.bin, nil)
	}
	for _, name := range programs {
		if _, statErr := os.Stat(b.program(name)); statErr != nil && err == nil {
			err = fmt.Errorf("%w: build it, or leave -bin out", statErr)
		}
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bed) close() {
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(b.progress, "bench:", err)
	}
}

// build compiles the programs as a release does; env may choose a platform.
func (b *bed) build(ctx context.Context, into string, env []string) error {
	fmt.Fprintf(b.progress, "build %s\n", strings.Join(append(env, programs...), " "))
	args := append([]string{}, stripped...)
	args = append(args, "-o", into+string(filepath.Separator))
	for _, name := range programs {
		args = append(args, "./cmd/"+name)
	}
	_, err := output(ctx, b.root, "env", append(append([]string{"CGO_ENABLED=0"}, env...), append([]string{"go"}, args...)...)...)
	return err
}

func (b *bed) program(name string) string { return filepath.Join(b.bin, name) }

// command is how a group is measured again.
func (b *bed) command(group string) string {
	if b.quick {
		return "make bench BENCH='-quick -only " + group + "'"
	}
	return "make bench BENCH='-only " + group + "'"
}

// say tells whoever waits how far it is.
func (b *bed) say(format string, args ...any) { fmt.Fprintf(b.progress, "  "+format+"\n", args...) }

// amount returns full, or small with -quick.
func (b *bed) amount(full, small int) int {
	if b.quick {
		return small
	}
	return full
}

// findRoot returns the root of the repository that the working directory is in.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+modulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository: its programs are built from there")
		}
	}
}

// revision names what is measured; a tree without git has no name.
func revision(ctx context.Context, root string) string {
	out, err := output(ctx, root, "git", "describe", "--always", "--dirty", "--tags")
	if err != nil {
		return "of an unknown revision"
	}
	return strings.TrimSpace(string(out))
}
