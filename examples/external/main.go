// Command external is a device that runs another program before every operation:
// the question is on its stdin, in JSON, and only exit status 0 within two
// seconds is a yes. Whatever goes wrong is a no. Try it with -ask ./ask.sh:
//
//	#!/bin/sh
//	grep -q '"user":"alice"'
//
// That refuses pairing too, which somebody without a user asks for, so pair
// before, with -ask true.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/exec"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/device"
	"github.com/latchkey-dev/latchkey/pairing"
)

// A question is what the program is told of an operation.
type question struct {
	User     string               `json:"user"`
	Key      latchkey.Fingerprint `json:"key"`
	Action   acl.Action           `json:"action"`
	Resource string               `json:"resource"`
	Path     acl.PathKind         `json:"path"`
}

// ask returns an AuthorizeFunc that runs program. The peer learns from its
// errors that it may not, and the log why.
func ask(program string) device.AuthorizeFunc {
	return func(ctx context.Context, r *acl.Request) error {
		in, err := json.Marshal(question{r.User, r.Peer, r.Action, r.Resource, r.Path})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program)
		cmd.Stdin = bytes.NewReader(in)
		cmd.WaitDelay = time.Second // for children that it leaves behind
		if err := cmd.Run(); err != nil {
			return errors.Join(latchkey.ErrForbidden, err, ctx.Err())
		}
		return nil
	}
}

func main() {
	addr := flag.String("listen", device.DefaultAddr, "UDP `HOST:PORT`")
	program := flag.String("ask", "false", "the `PROGRAM` that decides")
	flag.Parse()
	mux := device.NewMux()
	mux.HandleFunc("PUT /door", func(w device.ResponseWriter, r *device.Request) {
		fmt.Fprintf(w, "the door is %s", r.Body)
	})
	d := &device.Device{
		Dir: "device-state", Addr: *addr, Handler: mux, Pairing: pairing.LocalInitial,
		Authorize: ask(*program), Limits: device.Limits{AuthorizeCalls: 16}, // programs at once; more are refused
		Ready: func(i device.Info) { fmt.Println(i.PairingURL.Reveal()) },
	}
	log.Fatal(d.ListenAndServe(context.Background()))
}
