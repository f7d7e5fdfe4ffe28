package pairing_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/acl"
	"github.com/latchkey-dev/latchkey/pairing"
)

// Both halves of a pairing, without the network between them.
func Example() {
	dir, err := os.MkdirTemp("", "latchkey")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	store, err := acl.Create(filepath.Join(dir, "access.db"))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	client, err := latchkey.NewIdentity()
	if err != nil {
		panic(err)
	}
	host := pairing.NewHost(store, pairing.LocalInitial)
	peer := pairing.Peer{Key: client.Fingerprint(), Local: true} // what the device found out itself

	// The client asks what is open, and sends a request for it.
	mode, err := host.Status(time.Now(), peer).Choose()
	if err != nil {
		panic(err)
	}
	text, err := pairing.Request{Mode: mode, User: "alice", Name: "laptop"}.Encode()
	if err != nil {
		panic(err)
	}

	// The device reads it and decides.
	request, err := pairing.ParseRequest(mode, text)
	if err != nil {
		panic(err)
	}
	reply, err := host.Step(time.Now(), peer, request)
	fmt.Printf("%s: %+v %v\n", text, reply, err)
	reply, err = host.Step(time.Now(), peer, request)
	fmt.Printf("again: %+v %v\n", reply, err)
	fmt.Println("open now:", host.Modes(time.Now()))
	// Output:
	// {"user":"alice","name":"laptop"}: {User:alice Role:admin Already:false} <nil>
	// again: {User:alice Role:admin Already:true} <nil>
	// open now: none
}
