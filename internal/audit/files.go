package audit

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// current is the file that is written to. When it is full it gets a name with
// the number of its first record.
const current = "audit.jsonl"

func rotatedName(first uint64) string { return "audit-" + strconv.FormatUint(first, 10) + ".jsonl" }

// rotatedNumber is the inverse of rotatedName.
func rotatedNumber(name string) (first uint64, ok bool) {
	text, prefix := strings.CutPrefix(name, "audit-")
	text, suffix := strings.CutSuffix(text, ".jsonl")
	first, err := strconv.ParseUint(text, 10, 64)
	return first, prefix && suffix && err == nil && rotatedName(first) == name
}

// rotated returns the numbers of the files in dir that are full, oldest first.
func rotated(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		if first, ok := rotatedNumber(e.Name()); ok && e.Type().IsRegular() {
			out = append(out, first)
		}
	}
	slices.Sort(out)
	return out, nil
}

// A logFile is one file of the log, open for reading.
type logFile struct {
	name  string
	first uint64 // by its name; of the current file, more than any
	f     *os.File
}

// number is first, or 0 where the name says nothing.
func (f *logFile) number() uint64 {
	if f.name == current {
		return 0
	}
	return f.first
}

// begin is the number of the first record as the file says it; after damage its
// name may say less. Where there is no record it is more than any.
func (f *logFile) begin() uint64 {
	lines := newLines(io.NewSectionReader(f.f, 0, maxLine+1))
	if lines.next() {
		if r, err := parse(lines.text); err == nil {
			return r.N
		}
	}
	return math.MaxUint64
}

// logFiles are the files of a log as they were at one moment, oldest first.
type logFiles []logFile

// openFiles opens what there is. The current file comes first, because it may
// become a rotated one meanwhile, which is then found twice and not missed.
func openFiles(dir string) (files logFiles, err error) {
	add := func(name string, first uint64) error {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files = append(files, logFile{name, first, f})
		}
		return err
	}
	if err := add(current, math.MaxUint64); err != nil {
		return nil, err
	}
	firsts, err := rotated(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was ever written
	}
	for _, first := range firsts {
		err = errors.Join(err, add(rotatedName(first), first))
	}
	if err != nil {
		files.close()
		return nil, err
	}
	slices.SortFunc(files, func(a, b logFile) int { return cmp.Compare(a.first, b.first) })
	if n := len(files); n > 1 && sameFile(files[n-2].f, files[n-1].f) {
		files[n-1].f.Close()
		files = files[:n-1]
	}
	return files, nil
}

func sameFile(a, b *os.File) bool {
	ai, errA := a.Stat()
	bi, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(ai, bi)
}

func (fs logFiles) close() {
	for _, f := range fs {
		f.f.Close()
	}
}

// lines reads a file line by line and never holds more than one of them.
type lines struct {
	r     *bufio.Reader
	named uint64 // logFile.number
	n     int    // number of the line, from 1
	text  []byte // of the line, without newline; valid until the next call of next
	end   int64  // offset behind the line
	torn  int64  // bytes behind the last newline
	err   error
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next reads the next line that has an end. Of one that is longer than any
// record only the begin is kept, which is no record either.
func (l *lines) next() bool {
	text, err := l.r.ReadSlice('\n')
	size := int64(len(text))
	l.text = text
	if errors.Is(err, bufio.ErrBufferFull) {
		l.text = slices.Clone(text[:maxLine+1])
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = l.r.ReadSlice('\n')
			size += int64(len(text))
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		l.torn = size
		return false
	case err != nil:
		l.err = err
		return false
	}
	if l.text[len(l.text)-1] == '\n' {
		l.text = l.text[:len(l.text)-1]
	}
	l.n++
	l.end += size
	return true
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for sync there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
