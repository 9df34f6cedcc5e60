package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// strict are limits that a test can wait for.
func strict() Limits {
	l := generous
	l.Idle, l.HeaderTimeout, l.BodyTimeout, l.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	return l
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// wantClosed waits for the other side to close c, and discards what it sends.
func wantClosed(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		t.Errorf("the connection is still open after %s", within)
	}
}

type explosive struct{}

func (explosive) Read([]byte) (int, error) { panic("in the body") }
func (explosive) Close() error             { return nil }

// Whatever panics, the exchange ends: what was taken for it is given back.
func TestPanicInBodyEndsExchange(t *testing.T) {
	for _, length := range []int64{-1, 10} {
		ended := make(chan airside.Outcome, 1)
		_, addr := start(t, &Listener{}, func(x *airside.Exchange) (*http.Response, error) {
			x.OnDone(func(o airside.Outcome) { ended <- o })
			resp := web.Response(x, 200, http.Header{}, nil)
			resp.Body, resp.ContentLength = explosive{}, length
			return resp, nil
		})
		c := connect(t, addr)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		wantClosed(t, c, 10*time.Second)
		select {
		case o := <-ended:
			if !errors.Is(o.Err, errPanic) {
				t.Errorf("length %d: got %v", length, o.Err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("length %d: the exchange did not end", length)
		}
	}
}

// A client that leaves while its answer is sent is the one who ended it: nobody is told of
// a failure.
func TestClientLeavesItsAnswer(t *testing.T) {
	for name, l := range map[string]*Listener{"fast": {}, "std": {Standard: true}} {
		ended := make(chan airside.Outcome, 1)
		_, addr := start(t, l, func(x *airside.Exchange) (*http.Response, error) {
			x.OnDone(func(o airside.Outcome) { ended <- o })
			resp := web.Response(x, 200, http.Header{}, nil)
			resp.Body, resp.ContentLength = io.NopCloser(endless{}), -1
			return resp, nil
		})
		c := connect(t, addr)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		select {
		case o := <-ended:
			if code := airside.AsError(o.Err).Code; code != airside.Canceled || o.Failed() {
				t.Errorf("%s: got %s: %v", name, code, o.Err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the exchange did not end", name)
		}
	}
}

type clumsy struct{}

func (clumsy) Ended(*airside.Exchange, *airside.Outcome, *Seen) { panic("in an observer") }

// A panic of who is told of the end costs the client nothing: it has its answer, and its
// connection.
func TestPanicOfObserverKeepsConnection(t *testing.T) {
	answer := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		return web.Response(x, 204, http.Header{}, nil), nil
	})
	_, addr := startWith(t, &Listener{}, Settings{Handler: answer, Log: slog.New(slog.DiscardHandler), Observers: []Observer{clumsy{}}})
	c := connect(t, addr)
	in := bufio.NewReader(c)
	for range 2 {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

// A client whose request was answered early cannot hold the connection by sending
// no more, or by asking for more than it reads.
func TestNobodyHoldsAConnection(t *testing.T) {
	_, addr := start(t, &Listener{Limits: strict()}, func(x *airside.Exchange) (*http.Response, error) {
		return web.Response(x, 404, http.Header{}, make([]byte, 2000)), nil
	})
	for name, request := range map[string]string{
		"a chunked body that stalls": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"a large body that stalls":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nab",
		"an expected body":           "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, addr)
			fmt.Fprint(c, request)
			wantClosed(t, c, 5*time.Second)
		})
	}
	t.Run("pipelined requests whose answers nobody reads", func(t *testing.T) {
		t.Parallel()
		c := connect(t, addr)
		batch := strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1000)
		for range 200 { // until our own sending fails, since the other side has given up
			if _, err := io.WriteString(c, batch); err != nil {
				return
			}
		}
		t.Error("the gateway took 200,000 requests without being read")
	})
}

// An answer that has begun goes on though the client pauses its request.
func TestEarlyAnswerOutlivesBody(t *testing.T) {
	_, addr := start(t, &Listener{Limits: strict()}, func(x *airside.Exchange) (*http.Response, error) {
		go io.Copy(io.Discard, x.Request.Body) // as Transport does; the edge ends it
		pr, pw := io.Pipe()
		go func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for i := range 12 {
				<-tick.C
				fmt.Fprintf(pw, "data: %d\n\n", i)
			}
			pw.Close()
		}()
		resp := web.Response(x, 200, http.Header{"Content-Type": {"text/event-stream"}}, nil)
		resp.Body, resp.ContentLength = pr, -1
		return resp, nil
	})
	c := connect(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || strings.Count(string(b), "data:") != 12 {
		t.Errorf("got %d events, %v, want 12", strings.Count(string(b), "data:"), err)
	}
}

// An address that is given up is free at once.
func TestAddressIsFreed(t *testing.T) {
	s, addr := start(t, &Listener{}, echo)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := &Listener{Address: ln.Addr().String(), HTTP1: true, Limits: generous}
	ln.Close()
	first := &Listener{Address: "127.0.0.1:0", HTTP1: true, HTTP2: true, Limits: generous}
	for range 3 {
		apply(t, s, first, second)
		idle := connect(t, second.Address)
		fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		br := bufio.NewReader(idle)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		next := *first
		apply(t, s, &next)
		if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", second.Address); err == nil {
			c.Close()
			t.Fatal("the address still takes connections")
		}
		fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Errorf("a connection that was open is served no more: %v", err)
		}
		again := *second
		second = &again
	}
	_ = addr
}
