package vault

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// A tree is where the parts of a file lie that TestBrokenPages breaks.
type tree struct {
	data   []byte
	root   int // offset of the root page
	branch int // of a branch page
	leaf   int // of a leaf page with records
	packed int // of a page behind which another one is in use
	users  int // of the root page number of one bucket
	keys   int // and of another
}

func plant(t *testing.T, data []byte) *tree {
	t.Helper()
	data = bytes.Clone(data)
	root, _, err := newestMeta(data)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tree{data: data, root: int(root) * pageSize}
	end := headerSize + elementSize*int(u16(data[tr.root:], 10))
	elements, _, err := layout(data[tr.root:])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range elements {
		end += len(e.key)
		switch string(e.key) {
		case usersBucket:
			tr.users = tr.root + end
		case keysBucket:
			tr.keys = tr.root + end
		}
		end += len(e.value)
	}
	tr.branch = int(u64(data, tr.users)) * pageSize
	tr.leaf = int(u64(data[tr.branch:], headerSize+8)) * pageSize
	live := livePages(t, data)
	for i, page := range live[2 : len(live)-1] {
		if live[2+i+1] == page+1 && u32(data[page*pageSize:], 12) == 0 && u64(data[page*pageSize:], 0) == uint64(page) {
			tr.packed = page * pageSize
		}
	}
	if tr.packed == 0 || u16(data[tr.branch:], 8) != branchFlag || u16(data[tr.leaf:], 8) != leafFlag || u16(data[tr.leaf:], 10) < 2 {
		t.Fatal("the file is too simple to test with")
	}
	return tr
}

func put16(b []byte, at int, v uint16) { binary.NativeEndian.PutUint16(b[at:], v) }
func put32(b []byte, at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }
func put64(b []byte, at int, v uint64) { binary.NativeEndian.PutUint64(b[at:], v) }

// Whatever bbolt follows without looking is looked at first. None of these pages
// may reach it, even where the records on them are whole.
func TestBrokenPages(t *testing.T) {
	data, want := fullFile(t)
	swap := func(b []byte, i, j, n int) {
		one := bytes.Clone(b[i : i+n])
		copy(b[i:i+n], b[j:j+n])
		copy(b[j:j+n], one)
	}
	for name, fn := range map[string]func(tr *tree){
		"page with another number":       func(tr *tree) { put64(tr.data, tr.leaf, 7777) },
		"page of the kind meta":          func(tr *tree) { put16(tr.data, tr.leaf+8, 4) },
		"page of two kinds":              func(tr *tree) { put16(tr.data, tr.leaf+8, branchFlag|leafFlag) },
		"leaf as branch":                 func(tr *tree) { put16(tr.data, tr.leaf+8, branchFlag) },
		"branch as leaf":                 func(tr *tree) { put16(tr.data, tr.branch+8, leafFlag) },
		"page with too many entries":     func(tr *tree) { put16(tr.data, tr.leaf+10, 0xffff) },
		"page with an entry more":        func(tr *tree) { put16(tr.data, tr.leaf+10, u16(tr.data[tr.leaf:], 10)+1) },
		"branch without entries":         func(tr *tree) { put16(tr.data, tr.branch+10, 0) },
		"leaf without entries":           func(tr *tree) { put16(tr.data, tr.leaf+10, 0) },
		"overflow past the end":          func(tr *tree) { put32(tr.data, tr.leaf+12, 1<<20) },
		"overflow past all numbers":      func(tr *tree) { put32(tr.data, tr.leaf+12, 1<<32-1) },
		"overflow into pages in use":     func(tr *tree) { put32(tr.data, tr.packed+12, 1) },
		"branch that leads to itself":    func(tr *tree) { put64(tr.data, tr.branch+headerSize+8, uint64(tr.branch/pageSize)) },
		"branch that leads to the root":  func(tr *tree) { put64(tr.data, tr.branch+headerSize+8, uint64(tr.root/pageSize)) },
		"branch that leads to a meta":    func(tr *tree) { put64(tr.data, tr.branch+headerSize+8, 1) },
		"branch that leads past the end": func(tr *tree) { put64(tr.data, tr.branch+headerSize+8, 1<<40) },
		"branch that leads to one twice": func(tr *tree) {
			put64(tr.data, tr.branch+headerSize+8, u64(tr.data[tr.branch:], headerSize+elementSize+8))
		},
		"children in another order": func(tr *tree) {
			swap(tr.data, tr.branch+headerSize+8, tr.branch+headerSize+elementSize+8, 8)
		},
		"signpost that misleads": func(tr *tree) { // the key by which a search would turn
			at := tr.branch + headerSize + elementSize
			tr.data[at+int(u32(tr.data[at:], 0))] ^= 0x10
		},
		"bucket that leads to another's pages": func(tr *tree) { put64(tr.data, tr.users, u64(tr.data, tr.keys)) },
		"buckets in another order":             func(tr *tree) { swap(tr.data, tr.users, tr.keys, 8) },
		"bucket that leads to a meta":          func(tr *tree) { put64(tr.data, tr.users, 1) },
		"bucket without pages":                 func(tr *tree) { put64(tr.data, tr.users, 0) },
		"bucket that is a record":              func(tr *tree) { put32(tr.data, tr.root+headerSize, 0) },
		"record that is a bucket":              func(tr *tree) { put32(tr.data, tr.leaf+headerSize, bucketFlag) },
		"entry elsewhere":                      func(tr *tree) { put32(tr.data, tr.leaf+headerSize+4, 64) },
		"entry far away":                       func(tr *tree) { put32(tr.data, tr.leaf+headerSize+4, 1<<32-1) },
		"entry without a key":                  func(tr *tree) { put32(tr.data, tr.leaf+headerSize+8, 0) },
		"entry with a huge key":                func(tr *tree) { put32(tr.data, tr.leaf+headerSize+8, 1<<32-1) },
		"entry with a huge value":              func(tr *tree) { put32(tr.data, tr.leaf+headerSize+12, 1<<32-1) },
		"entry with a longer value":            func(tr *tree) { put32(tr.data, tr.leaf+headerSize+12, u32(tr.data[tr.leaf:], headerSize+12)+1) },
	} {
		tr := plant(t, data)
		fn(tr)
		if bytes.Equal(tr.data, data) {
			t.Fatalf("%s: nothing was broken", name)
		}
		if !refusedOrSame(t, name, tr.data, want) {
			t.Errorf("%s: accepted", name)
		}
	}
}
