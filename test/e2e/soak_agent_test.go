package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// pause waits for d, or until ctx ends, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// goodAgent is what it should be: it echoes, streams, talks by WebSocket, takes its
// time if it is asked to, and sends as much as it is asked for.
func goodAgent(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/good/echo", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Write(b)
	})
	mux.HandleFunc("/good/n/{n}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("n")) })
	mux.HandleFunc("/good/large/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Length", r.PathValue("n"))
		io.CopyN(w, new(counter), n)
	})
	mux.HandleFunc("/good/slow", func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), 200*time.Millisecond)
		fmt.Fprint(w, "at last")
	})
	mux.HandleFunc("/good/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 10 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if http.NewResponseController(w).Flush() != nil || !pause(r.Context(), 20*time.Millisecond) {
				return
			}
		}
	})
	mux.HandleFunc("/good/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// badWays are how an agent fails, by the last element of the path. Each gets a
// connection on which a request has come, and reads of it what it likes. A client
// that sent no body must be told the status; 0 is an answer that is broken off,
// with or without its head.
var badWays = []struct {
	name   string
	status int
	do     func(ctx context.Context, c *net.TCPConn, r *http.Request)
}{
	{"reset", 502, func(_ context.Context, c *net.TCPConn, _ *http.Request) { c.SetLinger(0) }},
	{"close", 502, func(context.Context, *net.TCPConn, *http.Request) {}},
	{"garbage", 502, func(_ context.Context, c *net.TCPConn, _ *http.Request) { io.WriteString(c, "\x00nonsense\r\n\r\n") }},
	{"half-head", 502, func(_ context.Context, c *net.TCPConn, _ *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
	}},
	{"cut", 0, func(_ context.Context, c *net.TCPConn, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
	}},
	{"cut-chunk", 0, func(_ context.Context, c *net.TCPConn, _ *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc")
		c.SetLinger(0)
	}},
	{"early", 413, func(_ context.Context, c *net.TCPConn, _ *http.Request) { // before it has read the body
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
	}},
	{"once", 200, func(_ context.Context, c *net.TCPConn, r *http.Request) { // and closes without a word of it
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}},
	{"more", 200, func(_ context.Context, c *net.TCPConn, r *http.Request) { // than it announced
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
	}},
	{"stall", 504, func(ctx context.Context, c *net.TCPConn, _ *http.Request) { waitClosed(ctx, c) }},
	{"stall-body", 0, func(ctx context.Context, c *net.TCPConn, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
		waitClosed(ctx, c)
	}},
	{"stall-stream", 0, func(ctx context.Context, c *net.TCPConn, _ *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
		waitClosed(ctx, c)
	}},
}

// waitClosed reads until the other side closes, or ctx ends.
func waitClosed(ctx context.Context, c net.Conn) {
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	io.Copy(io.Discard, c)
}

// badAgent fails in the way that the path names.
func badAgent(t *testing.T) string {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var serving sync.WaitGroup
		defer serving.Wait()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { fail(ctx, c.(*net.TCPConn)) })
		}
	}()
	t.Cleanup(func() {
		stop()
		ln.Close()
		<-ended
	})
	return "http://" + ln.Addr().String()
}

func fail(ctx context.Context, c *net.TCPConn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	for _, way := range badWays {
		if r.URL.Path == "/bad/"+way.name {
			way.do(ctx, c, r)
		}
	}
}
