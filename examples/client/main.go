// Command client asks a paired device for its temperature. The device proves
// the key that was pinned at pairing, or nothing is sent to it. What pairs is
//
//	latchkey pair URL --as home --dir client-state
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/latchkey-dev/latchkey/client"
)

func main() {
	ctx := context.Background()
	conn, err := (&client.Client{Dir: "client-state"}).Dial(ctx, "home")
	if err != nil {
		log.Fatal(err)
	}
	r, err := conn.Get(ctx, "/temperature")
	_ = conn.Close()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(r.Body))
}
