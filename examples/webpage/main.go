// Command webpage is something to lead a tunnel to: it serves one page on a
// free port of 127.0.0.1 and prints its address. With -get it is the other end
// and fetches a page, for machines without curl.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	url := flag.String("get", "", "fetch this `URL` and print it")
	text := flag.String("text", "Hello from behind the device.", "`TEXT` of the page")
	flag.Parse()
	run := func() error { return serve(*text) }
	if *url != "" {
		run = func() error { return get(*url) }
	}
	if err := run(); err != nil {
		log.Fatal("webpage: ", err)
	}
}

func serve(text string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, text)
	}))
}

func get(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
