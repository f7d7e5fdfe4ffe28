package story

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve starts a server on loopback and puts its address into a variable.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 3)
	kind, variable, text := args[0], args[1], ""
	if len(args) == 3 {
		text = args[2]
	}
	if kind == "udpecho" {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = pc.Close() })
		go echoPackets(pc) // ends with Close
		ts.Setenv(variable, pc.LocalAddr().String())
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(variable, l.Addr().String())
	switch kind {
	case "dead":
		ts.Check(l.Close())
		return
	case "busy":
	case "echo":
		go echoStreams(l) // ends with Close
	case "http":
		page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) }
		go func() { _ = http.Serve(l, http.HandlerFunc(page)) }() // ends with Close
	default:
		ts.Fatalf("unknown kind of server %s", kind)
	}
	ts.Defer(func() { _ = l.Close() })
}

func echoPackets(pc net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo(b[:n], from) // a datagram may get lost
	}
}

func echoStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

func say(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	conn, err := net.Dial("tcp", args[0])
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, args[1])
	ts.Check(err)
	ts.Check(conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	if err != nil {
		fmt.Fprintln(ts.Stdout(), "broken:", err)
	}
}

func sayUDP(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2)
	conn, err := net.Dial("udp", args[0])
	ts.Check(err)
	defer conn.Close()
	b := make([]byte, 1<<16)
	for late := time.Now().Add(patience); time.Now().Before(late); { // datagrams get lost
		_, _ = io.WriteString(conn, args[1])
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := conn.Read(b); err == nil {
			fmt.Fprintf(ts.Stdout(), "%s\n", b[:n])
			return
		}
	}
	ts.Fatalf("no answer from %s", args[0])
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 1)
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", page)
}
