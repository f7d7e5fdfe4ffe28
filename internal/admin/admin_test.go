package admin

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// A shelf is what operations of the tests act on.
type shelf struct {
	mu    sync.Mutex
	books []string
}

type book struct {
	Title string `json:"title"`
}

func (s *shelf) add(_ context.Context, in book) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Title == "" {
		return 0, Fail(latchkey.ErrConflict, "name it", "a book has a title")
	}
	s.books = append(s.books, in.Title)
	return len(s.books), nil
}

func (s *shelf) wait(ctx context.Context, _ None) (None, error) {
	<-ctx.Done()
	return None{}, context.Cause(ctx)
}

var table = Table[*shelf]{"add": Op((*shelf).add), "wait": Op((*shelf).wait)}

// direct is a Backend in this process.
type direct struct{ *shelf }

func (d direct) Do(ctx context.Context, op string, in []byte) ([]byte, error) {
	return table.Do(ctx, d.shelf, op, in)
}
func (d direct) Close() error { return nil }

// serve does the duties of a daemon on dir until stop.
func serve(t *testing.T, dir string) (stop func()) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	d := Duties{
		Socket: l, Do: direct{new(shelf)}.Do, Log: slog.New(slog.DiscardHandler),
		Ready: func() { close(ready) }, Apply: func() error { return nil },
	}
	var work sync.WaitGroup
	work.Go(func() { d.Run(ctx, ctx) })
	<-ready
	stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestBothWays: an operation means the same through the socket and without.
func TestBothWays(t *testing.T) {
	for _, running := range []bool{true, false} {
		dir := shortDir(t)
		if running {
			serve(t, dir)
		}
		b, err := Open(t.Context(), dir, func() (Backend, error) { return direct{new(shelf)}, nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, here := b.(direct); here == running {
			t.Fatalf("running %v was answered by %T", running, b)
		}
		if n, err := Call[int](t.Context(), b, "add", book{"Emma"}); err != nil || n != 1 {
			t.Errorf("add: %d, %v", n, err)
		}
		_, err = Call[int](t.Context(), b, "add", book{})
		var e *Error
		if !errors.As(err, &e) || e.NextStep() != "name it" || !errors.Is(err, latchkey.ErrConflict) || e.Error() != "a book has a title" {
			t.Errorf("refusal %v", err)
		}
		for op, in := range map[string]string{
			"remove": "{}", "add": `{"name":"x"}`, "add ": "{}", "wait": `{} {}`, "../add": "{}",
		} {
			if out, err := b.Do(t.Context(), op, []byte(in)); err == nil {
				t.Errorf("%s %s was answered %q", op, in, out)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStopEndsWaits: an operation that waits does not hold the daemon up.
func TestStopEndsWaits(t *testing.T) {
	dir := shortDir(t)
	stop := serve(t, dir)
	b, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := Call[None](t.Context(), b, "wait", None{})
		ended <- err
	}()
	stop()
	if err := <-ended; err == nil {
		t.Error("the wait ended without a reason")
	}
	if _, err := Call[int](t.Context(), b, "add", book{"Emma"}); !errors.Is(err, ErrEnded) {
		t.Errorf("a call after the stop: %v", err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after the stop: %v", err)
	}
}

func TestCreateIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	write := func(path string) error { return WriteNew(path, []byte("x")) }
	broken := errors.New("broken")
	err := Create(dir, "prog", []File{{"a", write}, {"b", write}, {"c", func(string) error { return broken }}})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left %v", list)
	}
	if err := Create(dir, "prog", []File{{"a", write}, {"b", write}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	err = Create(dir, "prog", []File{{"a", write}, {"b", write}})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "b is there already") || !strings.Contains(e.Next, "prog run") {
		t.Errorf("error %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left %v", list)
	}
}
