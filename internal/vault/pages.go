package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// This file reads the pages of a bbolt file without bbolt. bbolt maps the file
// and follows the page numbers and lengths that it finds there; it has to be
// given a file in which they are right. So before bbolt sees the file, and again
// before each change, every page that is in use is checked here, on plain bytes
// and with every bound looked at: numbers, kinds, layout and order of keys. The
// records found on the way are handed on, to have their checksums compared.
//
// The layout, in the byte order of the machine:
//
//	page    id u64, flags u16, count u16, overflow u32, count elements, their data
//	branch  pos u32, key size u32, child page u64         data: key
//	leaf    flags u32, pos u32, key size u32, value size u32   data: key, value
//	meta    magic, version, page size, flags u32, root page, sequence,
//	        free list page, number of pages, transaction, FNV-1a of these u64
//
// Pages 0 and 1 are metas; the valid one with the later transaction counts. A
// value flagged as a bucket is root page u64, sequence u64, and the page itself
// behind them when the root page is 0.
const (
	pageSize    = 4096 // of the files that we create, on every machine
	headerSize  = 16   // of a page
	elementSize = 16   // of both kinds
	bucketSize  = 16
	metaSum     = 56 // offset of a meta's checksum, and the length of what it covers

	branchFlag = 0x01
	leafFlag   = 0x02
	bucketFlag = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreeList  = ^uint64(0)

	maxDepth = 16 // of the tree; four levels hold millions of records
)

// A pageReader is one pass over one file.
type pageReader struct {
	data  []byte
	pages uint64 // how many there are, of those with data
	used  []bool // pages met already
	visit func(bucket, key, value []byte) error
}

// readPages checks the pages of a file and hands each record to visit. The
// slices are valid while data is.
func readPages(data []byte, visit func(bucket, key, value []byte) error) error {
	root, pages, err := newestMeta(data)
	if err != nil {
		return err
	}
	r := &pageReader{data: data, pages: pages, used: make([]bool, pages), visit: visit}
	return r.walk(root, nil, nil, 0, r.bucket)
}

// newestMeta returns the root page and the number of pages that the file's
// newest valid meta page names.
func newestMeta(data []byte) (root, pages uint64, err error) {
	if len(data) < 2*pageSize {
		return 0, 0, fmt.Errorf("%d bytes are too few", len(data))
	}
	var newest []byte
	for at := 0; at < 2*pageSize; at += pageSize {
		m := data[at+headerSize:][:metaSum+8]
		sum := fnv.New64a()
		sum.Write(m[:metaSum])
		valid := u32(m, 0) == boltMagic && u32(m, 4) == boltVersion && u64(m, metaSum) == sum.Sum64()
		if valid && (newest == nil || u64(m, 48) > u64(newest, 48)) {
			newest = m
		}
	}
	if newest == nil {
		return 0, 0, fmt.Errorf("it does not begin as a database does")
	}
	root, pages = u64(newest, 16), u64(newest, 40)
	switch {
	case u32(newest, 8) != pageSize || u64(newest, 32) != noFreeList:
		return 0, 0, fmt.Errorf("it was not written by Latchkey")
	case pages > uint64(len(data)/pageSize):
		return 0, 0, fmt.Errorf("%d pages of %d are missing at the end", pages-uint64(len(data)/pageSize), pages)
	}
	return root, pages, nil
}

// leaf is what walk does with each element of a leaf page.
type leaf func(flags uint32, key, value []byte, depth int) error

// walk visits page id and all below it. Keys must lie between from, inclusive,
// and to; nil stands for no bound.
func (r *pageReader) walk(id uint64, from, to []byte, depth int, each leaf) error {
	page, err := r.take(id)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("page %d lies too deep", id)
	}
	elements, _, err := layout(page)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		if bytes.Compare(e.key, from) < 0 || to != nil && bytes.Compare(e.key, to) >= 0 {
			return fmt.Errorf("page %d: a key out of order", id)
		}
		from = append(bytes.Clone(e.key), 0) // the next key is greater
		if u16(page, 8) == leafFlag {
			err = each(e.flags, e.key, e.value, depth)
		} else {
			end := to
			if i+1 < len(elements) {
				end = elements[i+1].key
			}
			err = r.walk(e.child, e.key, end, depth+1, each)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take returns page id with its overflow pages, and marks them as met.
func (r *pageReader) take(id uint64) ([]byte, error) {
	if id < 2 || id >= r.pages {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	page := r.data[id*pageSize:]
	n := uint64(u32(page, 12)) + 1
	if u64(page, 0) != id || n > r.pages-id {
		return nil, fmt.Errorf("page %d has another page's header", id)
	}
	if flags := u16(page, 8); flags != leafFlag && flags != branchFlag {
		return nil, fmt.Errorf("page %d is of an unexpected kind", id)
	}
	for i := id; i < id+n; i++ {
		if r.used[i] {
			return nil, fmt.Errorf("page %d is in use twice", i)
		}
		r.used[i] = true
	}
	return page[:n*pageSize], nil
}

// An element is one entry of a page.
type element struct {
	flags uint32 // leaf
	child uint64 // branch
	key   []byte
	value []byte // leaf
}

// layout takes a page apart. Data lies without gaps in the order of the
// elements, so positions and sizes vouch for each other. end is where the data
// ends.
func layout(page []byte) (elements []element, end int, err error) {
	count, isLeaf := int(u16(page, 10)), u16(page, 8) == leafFlag
	end = headerSize + count*elementSize
	if end > len(page) || count == 0 && !isLeaf {
		return nil, 0, fmt.Errorf("it cannot have %d entries", count)
	}
	elements = make([]element, count)
	for i := range elements {
		at := headerSize + i*elementSize
		raw := page[at : at+elementSize]
		e := element{child: u64(raw, 8)}
		pos, keySize, valueSize := u32(raw, 0), u32(raw, 4), uint32(0)
		if isLeaf {
			e = element{flags: u32(raw, 0)}
			pos, keySize, valueSize = u32(raw, 4), u32(raw, 8), u32(raw, 12)
		}
		size := uint64(keySize) + uint64(valueSize)
		if uint64(pos) != uint64(end-at) || keySize == 0 || size > uint64(len(page)-end) {
			return nil, 0, fmt.Errorf("entry %d does not fit", i)
		}
		data := page[end : end+int(size)]
		e.key, e.value = data[:keySize], data[keySize:]
		elements[i] = e
		end += int(size)
	}
	return elements, end, nil
}

// bucket visits one bucket of the root.
func (r *pageReader) bucket(flags uint32, name, value []byte, depth int) error {
	record := func(flags uint32, key, value []byte, _ int) error {
		if flags != 0 {
			return fmt.Errorf("bucket %q: an entry of an unexpected kind", name)
		}
		return r.visit(name, key, value)
	}
	if flags != bucketFlag || len(value) < bucketSize {
		return fmt.Errorf("%q is not a bucket", name)
	}
	if root := u64(value, 0); root != 0 {
		if len(value) != bucketSize {
			return fmt.Errorf("bucket %q has a wrong size", name)
		}
		return r.walk(root, nil, nil, depth+1, record)
	}
	page := value[bucketSize:]
	if len(page) < headerSize || u16(page, 8) != leafFlag {
		return fmt.Errorf("bucket %q has a wrong size or kind", name)
	}
	elements, end, err := layout(page)
	if err != nil || end != len(page) {
		return fmt.Errorf("bucket %q: the entries do not fit", name)
	}
	var last []byte
	for _, e := range elements {
		if bytes.Compare(e.key, last) <= 0 {
			return fmt.Errorf("bucket %q: a key out of order", name)
		}
		last = e.key
		if err := record(e.flags, e.key, e.value, depth); err != nil {
			return err
		}
	}
	return nil
}

func u16(b []byte, at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
func u32(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
func u64(b []byte, at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
