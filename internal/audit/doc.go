// Package audit keeps the log that a device's owner reads to learn who did what,
// and makes it tell when somebody else has edited it.
//
// # The file
//
// audit.jsonl has one JSON object a line, a Record, with its fields in one order
// and in one spelling:
//
//	{"n":7,"time":"2026-03-01T08:15:00.000000Z","kind":"access","outcome":"refused",
//	 "key":"5f0c…","user":"bob","action":"coap:put","object":"/light/1","code":4,
//	 "path":"local","source":"192.0.2.7","hash":"a81e…"}
//
// (a line is not broken, of course). Records are numbered, and the hash of each
// is the SHA-256 of the hash before it, as 64 digits, and of the line up to the
// comma before "hash". So a record cannot be changed, removed, added or moved
// without all hashes after it, which anybody can check with sha256sum.
//
// Whoever can write the file can compute these hashes, too. So every 256 records,
// at the begin of each file, when the log is opened and when it is closed there is
// a checkpoint, a record that the device's key signs. And so that the end cannot
// be cut off either, number and hash of the last record, the Anchor, are kept
// elsewhere: in access.db. Who can write both files and use the key is the device,
// and against that no log on the device itself helps.
//
// A file that is full is renamed to audit-N.jsonl, N being the number of its first
// record, and only so many files are kept. The checkpoint at the begin of a file
// says which record is the oldest one that is kept, so that Verify can tell what
// rotation removed from what somebody else removed.
//
// # Writing
//
// Record puts an event in a bounded queue, and one goroutine writes. Changes, of
// users, keys, rules and settings, are on disk when Record returns; all that is
// queued at one time shares one fsync. What peers cause by asking, refusals and
// sessions, does not wait: it is on disk within a second.
//
// Peers must not be able to fill the disk, nor to push old records out of it by
// causing new ones. Equal refusals within a minute become one record when they
// begin and one, with their number, when the minute is over. Each peer gets 60
// lines in a minute and all peers 600, and at most as many that count; what is
// beyond is counted by kind and peer. No event is left out of the counts.
//
// A day has a limit, too, in bytes of lines that are no changes: 1.2 MB in all, of
// which peers that are no users get 0.4 MB, some 1,000 lines, and one user 0.5 MB.
// What is beyond is told as numbers once an hour. So with eight files of 8 MiB, of
// which one may just have been begun, there are 58 MB for the last 30 days, and
// however much is asked, asking takes no more than 31 days of 1.2 MB, 37 MB, and
// 3 MB of numbers. That leaves 18 MB for changes, 45,000 of them at 400 bytes:
// administrators make as many as they like, and one user who changes itself 100
// times each day takes 1.2 MB in these 30 days. A restart begins a new day.
//
// Record never fails its caller, because a full disk must not open or close a
// door. What cannot be written is kept in memory as far as there is room and
// written later; what is lost beyond that is counted, and a record says how many
// as soon as writing works again.
//
// Somebody may remove or replace the file that is open, as editors do. The log
// notices within a second of the next record, leaves what it finds where it is,
// and goes on in a new file, which begins by saying so.
//
// # After a crash
//
// A crash may leave half a line, or, after a power cut, lines that were never
// acknowledged and are not whole. Open cuts them off if they lie beyond the anchor
// and no checkpoint follows, and says so in a record. All else that does not fit
// is damage. Open leaves it where it is, begins a new file behind it, and Verify
// names it for as long as it is kept.
//
// # Reading the source
//
// record.go is a line, chain.go what holds lines together. log.go takes events,
// fold.go counts them by the minute and day.go by the day. writer.go writes them,
// rotate.go goes from file to file. walk.go follows the chain, for verify.go and
// for open.go.
package audit
