package audit

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
)

// worst is what a month of floods may write, so that what changed in the month
// is kept as well: with the default sizes one file of eight is always being begun.
const worst = (defaultKeep - 1) * defaultFile * 3 / 4 / 31

// Whoever floods the log does not push out what is in it: a day of floods writes
// little, all is counted, and changes have their lines.
func TestFloodsOfDays(t *testing.T) {
	const days, perHour = 1, 900
	stranger := func(i int) acl.Event {
		e := refusal(i)
		e.Key, e.Code, e.Path = fingerprint(t, i), latchkey.CodeUnpaired, acl.PathDirect
		return e
	}
	user := func(i int) acl.Event {
		return acl.Event{
			Kind: acl.EventAccess, Outcome: acl.OutcomeOK, Key: fingerprint(t, i%64), User: "bob",
			Action: acl.TunnelOpen, Object: fmt.Sprintf("service-%d", i), Path: acl.PathLocal,
		}
	}
	for name, event := range map[string]func(i int) acl.Event{
		"strangers": stranger, "a user": user,
		"both and others": func(i int) acl.Event {
			if i%3 == 0 {
				return stranger(i)
			}
			e := user(i)
			e.User = fmt.Sprintf("user-%d", i%50)
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			synctest.Test(t, func(t *testing.T) {
				log := l.openOn(t, &disk{room: -1}, new(bytes.Buffer))
				for hour := range days * 24 {
					for i := range perHour {
						log.Record(event(hour*perHour + i))
						if i%500 == 0 {
							synctest.Wait() // the queue is not what is tested
						}
					}
					log.Record(change(hour))
					log.Record(acl.Event{Kind: acl.EventRevoke, Outcome: acl.OutcomeOK, User: "anna", Object: fmt.Sprint(hour)})
					time.Sleep(time.Hour)
				}
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			})
			size, events, kept := 0, 0, 0
			for _, line := range l.lines(t) {
				r, err := parse(bytes.TrimSuffix(line.text, []byte("\n")))
				if err != nil {
					t.Fatal(err)
				}
				switch r.Kind {
				case acl.EventAccess:
					size += len(line.text)
					events += int(max(1, r.Repeats))
				case acl.EventUser, acl.EventRevoke:
					kept++
				}
			}
			if events != days*24*perHour || kept != days*24*2 {
				t.Errorf("%d of %d events and %d of %d others", events, days*24*perHour, kept, days*24*2)
			}
			if size > days*worst {
				t.Errorf("%d bytes in a day, at most %d", size/days, worst)
			}
			t.Logf("%d bytes in a day", size/days)
			l.clean(t)
		})
	}
}

// Strangers leave room for users, one user for the others, and a wrong password
// is never among what is only counted because of strangers.
func TestShares(t *testing.T) {
	fill := func(d *day, r Record) {
		for range 10_000 {
			d.pay(&r)
		}
	}
	at := acl.Event{Kind: acl.EventAccess, Outcome: acl.OutcomeRefused}
	stranger, anna, bob := newRecord(&at, time.Now()), newRecord(&at, time.Now()), newRecord(&at, time.Now())
	anna.User, bob.User = "anna", "bob"
	wrong := *stranger
	wrong.Kind, wrong.Code = acl.EventPair, latchkey.CodeWrongPassword
	var d day
	fill(&d, *stranger)
	if d.pay(stranger) || !d.pay(anna) || !d.pay(bob) || !d.pay(&wrong) {
		t.Error("strangers take what is not theirs, or more than they may")
	}
	fill(&d, *bob)
	if d.pay(bob) || !d.pay(anna) {
		t.Error("a user takes what others need, or more than it may")
	}
	if d.all > maxDay || d.strangers > maxStrangers {
		t.Errorf("%+v", d)
	}
	synctest.Test(t, func(t *testing.T) {
		var d day
		fill(&d, *stranger)
		time.Sleep(dayLength)
		if !d.pay(stranger) {
			t.Error("there is no next day")
		}
	})
}
