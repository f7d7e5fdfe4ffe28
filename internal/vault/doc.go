// Package vault keeps a set of records in one bbolt file, such that the file holds
// either exactly what was committed last or is refused.
//
// A record is some bytes under a name, an ID. Each has a checksum over both, and
// one more record, the summary, holds count and hash of all the others. A lost
// record, one from the past, a swapped page, a cut or flipped file: none of it
// passes for the content, and nothing is ever repaired to less than it was.
//
//	v, err := vault.Open(path, kind, load) // load gets every record, checked
//	err = v.Commit(map[vault.ID]vault.Record{id: vault.Seal(id, payload)})
//
// When Commit returns nil the change is on disk. When writing failed, nobody can
// know what is in the file; so the vault closes it, reads it again and finds out,
// and where even that fails, before the next change. What it answered holds: a
// change that was refused and is in the file all the same is taken back.
//
// The owner decodes the records and keeps its own state in memory; the vault is
// touched for changes only. Missing files are not made by Open, only by Create.
//
// A file of an earlier version is brought forward when it is opened, by what
// Kind.Migrate says; one of a later version is refused.
//
// Reading the source: vault.go for the order of things, file.go and record.go for
// what is on disk, pages.go for the check before bbolt maps the file.
package vault
