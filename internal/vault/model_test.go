package vault

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestVaultEqualsModel runs changes, some of them with a fault on the way, against
// a map, and now and then opens the file again.
func TestVaultEqualsModel(t *testing.T) {
	dir, runs := t.TempDir(), 0
	place := rapid.Custom(func(t *rapid.T) ID {
		return ID{rapid.SampledFrom(testKind.Buckets).Draw(t, "bucket"), rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")}
	})
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs), "vault.db")
		if err := Create(path, testKind, nil); err != nil {
			t.Fatal(err)
		}
		v, err := Open(path, testKind, accept)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { v.Close() }()
		model, generation := map[ID]Record{}, uint64(0)
		for range 12 {
			change := map[ID]Record{}
			for range rapid.IntRange(1, 4).Draw(t, "records") {
				id, size := place.Draw(t, "place"), rapid.SampledFrom([]int{0, 3, 6000}).Draw(t, "size")
				if change[id] = Seal(id, []byte(strings.Repeat("x", size))); size == 0 {
					change[id] = ""
				}
			}
			written := true
			if n := rapid.IntRange(0, 2*len(faults)).Draw(t, "fault"); n < len(faults) {
				v.commit, written = faults[n].commit, faults[n].written
			}
			err := v.Commit(change)
			v.commit = (*file).commit
			if (err == nil) != written {
				t.Fatalf("Commit returns %v, written %t", err, written)
			}
			if written {
				generation++
				maps.Copy(model, change)
				maps.DeleteFunc(model, func(_ ID, r Record) bool { return r == "" })
			}
			if rapid.Bool().Draw(t, "restart") {
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
				if v, err = Open(path, testKind, accept); err != nil {
					t.Fatal(err)
				}
			}
			if !maps.Equal(v.Records(), model) || v.Generation() != generation {
				t.Fatalf("%d records of generation %d, want %d of %d", len(v.Records()), v.Generation(), len(model), generation)
			}
		}
	})
}
