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
	host := pairing.NewHost(pairing.HostConfig{Store: store, Open: pairing.LocalInitial})
	peer := pairing.Peer{Key: client.Fingerprint(), Local: true} // what the device found out itself
	exchange := host.Begin(peer)

	// The client asks what is open.
	mode, err := host.Status(time.Now(), peer).Choose(pairing.Have{})
	if err != nil {
		panic(err)
	}
	prover := pairing.NewProver(pairing.ProverConfig{
		Request: pairing.Request{Mode: mode, User: "alice", Name: "laptop"},
		Client:  client.Fingerprint(),
	})
	// What it posts goes to the exchange, until there is an outcome.
	body, done, err := prover.Next(0, nil)
	for done == nil {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", body)
		var code uint8
		var answer []byte
		if code, answer, err = exchange.Step(time.Now(), mode, body); err != nil {
			panic(err)
		}
		body, done, err = prover.Next(code, answer)
	}
	fmt.Println(done.User, "is", done.Role)
	fmt.Println("open now:", host.Modes(time.Now()))
	// Output:
	// {"user":"alice","name":"laptop"}
	// alice is admin
	// open now: none
}
