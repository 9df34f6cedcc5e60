package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the connections that are made.
func counted(n *atomic.Int64) func(*Settings) {
	return func(s *Settings) {
		dial := s.Dial
		s.Dial = func(ctx context.Context) (net.Conn, error) {
			n.Add(1)
			return dial(ctx)
		}
	}
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestKeepAlive proves after which answers a connection is used again.
func TestKeepAlive(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	tests := []struct {
		name, answer string
		read         bool // all of it
		again        bool
		driven       bool // only then
	}{
		{"read", fine, true, true, false},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true, true, false},
		{"empty", "HTTP/1.1 204 No Content\r\n\r\n", true, true, false},
		{"not read, but there", fine, false, true, false},
		{"not read, chunked, but there", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, true, false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", true, false, false},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true, false, false},
		{"1.0, keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true, true, false},
		{"stray bytes", fine + "HTTP/1.1 200 OK\r\n", true, false, false},
		{"stray bytes after an empty answer", "HTTP/1.1 204 No Content\r\n\r\nok", true, false, false},
		{"long and not read", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), false, false, false},
		{"not there", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false, false, false},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				var dialed atomic.Int64
				c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, _ string) bool {
					_, _ = io.WriteString(c, tt.answer)
					return true
				})), wrap, counted(&dialed))
				for range 3 {
					a := &Answer{}
					if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
						t.Fatal(err)
					}
					if tt.read {
						if _, err := io.Copy(io.Discard, a.Body); err != nil {
							t.Fatal(err)
						}
					}
					_ = a.Body.Close()
					_ = a.Body.Close() // a second time does no harm
				}
				want := int64(3)
				if tt.again {
					want = 1
				}
				if got := dialed.Load(); got != want {
					t.Errorf("got %d connections, want %d", got, want)
				}
			})
		}
	})
}

// TestStale proves when a request is sent again over a new connection: when the one
// that was idle broke before a byte of an answer came, and the request may be repeated.
func TestStale(t *testing.T) {
	tests := []struct {
		name, method, body string
		stream             bool
		replay             bool
		says               string // before the connection breaks
		ok                 bool
	}{
		{"GET", "GET", "", false, false, "", true},
		{"PUT", "PUT", "body", false, false, "", true},
		{"PUT, stream", "PUT", "body", true, true, "", true},
		{"PUT, stream that cannot be replayed", "PUT", "body", true, false, "", false},
		{"POST", "POST", "body", false, false, "", false},
		{"GET, half a head", "GET", "", false, false, "HTTP/1.1 200", false},
		{"GET, interim answer", "GET", "", false, false, "HTTP/1.1 100 Continue\r\n\r\n", false},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				var asked, dialed atomic.Int64
				c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, body string) bool {
					if asked.Add(1) == 2 {
						_, _ = io.WriteString(c, tt.says)
						return false
					}
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					return true
				})), wrap, counted(&dialed))
				if _, _, err := ask(t, c, request("GET")); err != nil {
					t.Fatal(err)
				}
				r := request(tt.method)
				if tt.body != "" {
					r.with(tt.body)
					if !tt.stream {
						r.Body = buffered{strings.NewReader(tt.body)}
					}
				}
				r.Replay = func() (io.Reader, bool) { return strings.NewReader(tt.body), tt.replay }
				_, body, err := ask(t, c, r)
				if !tt.ok {
					if e := wantKind(t, err, Broke); !e.Sent {
						t.Error("the error says that nothing was sent")
					}
					return
				}
				if err != nil || body != tt.body || dialed.Load() != 2 {
					t.Errorf("got %q, %v over %d connections", body, err, dialed.Load())
				}
			})
		}
	})
}

// TestIdleCheck proves that a connection which the agent closed, or spoke on, while it
// was idle is not used again, for any request.
func TestIdleCheck(t *testing.T) {
	for _, stray := range []string{"", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"} {
		t.Run(fmt.Sprint(len(stray)), func(t *testing.T) {
			closed := make(chan struct{})
			var n, dialed atomic.Int64
			c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, _ string) bool {
				_, _ = io.WriteString(c, fine)
				if n.Add(1) > 1 {
					return true
				}
				<-time.After(5 * time.Millisecond) // the answer is read first: what follows is nobody's
				_, _ = io.WriteString(c, stray)
				_ = c.CloseWrite()
				close(closed)
				hold(c)
				return false
			})), ways[0].wrap, counted(&dialed))
			for range 2 {
				_, body, err := ask(t, c, request("POST"))
				if err != nil || body != "ok" {
					t.Fatalf("got %q, %v", body, err)
				}
				<-closed
			}
			if got := dialed.Load(); got != 2 {
				t.Errorf("got %d connections, want 2", got)
			}
		})
	}
}

// TestIdleBounds proves that no more connections are kept than the settings say, and
// not for longer.
func TestIdleBounds(t *testing.T) {
	tests := []struct {
		name    string
		max     int
		idle    time.Duration
		at      int // connections at the same time
		noIdle  bool
		waiting int // idle in the end
	}{
		{"at most", 2, time.Minute, 4, false, 2},
		{"none", 0, time.Minute, 2, false, 0},
		{"for a while", 4, 20 * time.Millisecond, 4, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var open4 sync.WaitGroup
			open4.Add(tt.at)
			gone := make(chan struct{}, tt.at)
			c := open(t, agent(t, func(c *net.TCPConn) {
				requests(func(c *net.TCPConn, _ *http.Request, _ string) bool {
					open4.Done()
					open4.Wait()
					_, _ = io.WriteString(c, fine)
					return true
				})(c)
				gone <- struct{}{}
			}), ways[0].wrap, func(s *Settings) { s.MaxIdle, s.Idle = tt.max, tt.idle })
			var all sync.WaitGroup
			for range tt.at {
				all.Go(func() {
					if _, _, err := ask(t, c, request("GET")); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for range tt.at - tt.waiting {
				<-gone
			}
			c.idle.mu.Lock()
			n := len(c.idle.conns)
			c.idle.mu.Unlock()
			if n != tt.waiting {
				t.Errorf("got %d idle connections, want %d", n, tt.waiting)
			}
		})
	}
}

// TestCancel proves that an exchange ends at once at every stage, with the cause, and
// that its connection is not used again.
func TestCancel(t *testing.T) {
	cause := errors.New("enough")
	stages := []struct {
		name string
		f    func(c *net.TCPConn, reached func())
		body bool // it has begun
	}{
		{"waiting for the head", func(c *net.TCPConn, reached func()) {
			_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
			reached()
			hold(c)
		}, false},
		{"within the head", func(c *net.TCPConn, reached func()) {
			_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			reached()
			hold(c)
		}, false},
		{"within the body", func(c *net.TCPConn, reached func()) {
			_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			reached()
			hold(c)
		}, true},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, s := range stages {
			for _, relay := range []bool{false, true} {
				t.Run(fmt.Sprint(s.name, relay), func(t *testing.T) {
					reached := make(chan struct{})
					c := open(t, agent(t, func(c *net.TCPConn) { s.f(c, func() { close(reached) }) }), wrap)
					trip, a := &Trip{}, &Answer{}
					var all sync.WaitGroup
					begun := make(chan struct{})
					all.Go(func() {
						<-reached
						if s.body {
							<-begun
						}
						trip.Cancel(cause)
						trip.Cancel(errors.New("another"))
					})
					err := c.Do(t.Context(), trip, request("GET"), a)
					if !s.body {
						if e := wantKind(t, err, Canceled); e.Err != cause || !e.Sent {
							t.Errorf("got %v, sent %t", e.Err, e.Sent)
						}
						all.Wait()
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					close(begun)
					if relay {
						_, err = a.Body.(io.WriterTo).WriteTo(io.Discard)
					} else {
						_, err = io.Copy(io.Discard, struct{ io.Reader }{a.Body})
					}
					wantKind(t, err, Cut)
					if trip.Cause() != cause {
						t.Errorf("got cause %v", trip.Cause())
					}
					_ = a.Body.Close()
					all.Wait()
				})
			}
		}
	})
	t.Run("before", func(t *testing.T) {
		trip := &Trip{}
		trip.Cancel(cause)
		c := open(t, "127.0.0.1:1", ways[0].wrap)
		if e := wantKind(t, c.Do(t.Context(), trip, request("GET"), &Answer{}), Canceled); e.Err != cause || e.Sent {
			t.Errorf("got %v, sent %t", e.Err, e.Sent)
		}
	})
	t.Run("dialing", func(t *testing.T) {
		trip := &Trip{}
		c := open(t, "", ways[0].wrap, func(s *Settings) {
			s.Dial = func(ctx context.Context) (net.Conn, error) {
				trip.Cancel(cause)
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
		})
		if e := wantKind(t, c.Do(t.Context(), trip, request("GET"), &Answer{}), Canceled); e.Err != cause || e.Sent {
			t.Errorf("got %v, sent %t", e.Err, e.Sent)
		}
	})
	t.Run("after", func(t *testing.T) {
		var dialed atomic.Int64
		c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, _ string) bool { _, _ = io.WriteString(c, fine); return true })),
			ways[0].wrap, counted(&dialed))
		for range 2 {
			trip, a := &Trip{}, &Answer{}
			if err := c.Do(t.Context(), trip, request("GET"), a); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(a.Body); string(b) != "ok" || err != nil {
				t.Fatalf("got %q, %v", b, err)
			}
			trip.Cancel(cause) // it has let the connection go
			_ = a.Body.Close()
			trip.Reset()
			if trip.Cause() != nil {
				t.Error("a trip that was reset still has a cause")
			}
		}
		if dialed.Load() != 1 {
			t.Errorf("got %d connections, want 1", dialed.Load())
		}
	})
}

// TestClosed proves that a client that was closed makes no more connections.
func TestClosed(t *testing.T) {
	c := open(t, agent(t, says(fine)), ways[0].wrap)
	c.Close()
	wantKind(t, c.Do(t.Context(), &Trip{}, request("GET"), &Answer{}), Closed)
}

// TestUpgrade proves that a connection changes hands with what came behind the head,
// and that both sides of it can be used at the same time and ended.
func TestUpgrade(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		c := open(t, agent(t, func(c *net.TCPConn) {
			b := bufio.NewReaderSize(c, 16)
			r, err := http.ReadRequest(b)
			if err != nil || r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "Upgrade" {
				t.Errorf("got %v, %v", r, err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nready")
			_, _ = io.Copy(c, b)
		}), wrap)
		r := request("GET")
		r.Upgrade = "echo"
		trip, a := &Trip{}, &Answer{}
		if err := c.Do(t.Context(), trip, r, a); err != nil {
			t.Fatal(err)
		}
		rw, ok := a.Body.(io.ReadWriteCloser)
		if !ok || a.StatusCode != 101 || a.ContentLength != 0 {
			t.Fatalf("got %+v", a.Response)
		}
		for _, s := range []string{"ready", "one", "two"} {
			if s != "ready" {
				if _, err := io.WriteString(rw, s); err != nil {
					t.Fatal(err)
				}
			}
			b := make([]byte, len(s))
			if _, err := io.ReadFull(rw, b); err != nil || string(b) != s {
				t.Fatalf("got %q, %v", b, err)
			}
		}
		if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := rw.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("got %d, %v, want EOF", n, err)
		}
		done := make(chan struct{})
		go func() { defer close(done); trip.Cancel(errOver) }()
		<-done
		if _, err := rw.Write([]byte("x")); err == nil {
			t.Error("writing after Cancel: got no error")
		}
		_ = rw.Close()
	})
}

// TestInvalid proves that what cannot be written down is not sent, and touches no
// connection.
func TestInvalid(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Request)
	}{
		{"method", func(r *Request) { r.Method = "GE T" }},
		{"no method", func(r *Request) { r.Method = "" }},
		{"space in the path", func(r *Request) { r.Path = "/a b" }},
		{"line end in the path", func(r *Request) { r.Path = "/\r\nX: y" }},
		{"line end in the query", func(r *Request) { r.Query, r.HasQuery = "\n", true }},
		{"line end in the host", func(r *Request) { r.Host = "a\r\nX: y" }},
		{"name", func(r *Request) { r.Header["a b"] = []string{""} }},
		{"line end in a name", func(r *Request) { r.Header["a\r\nb"] = []string{""} }},
		{"line end in a value", func(r *Request) { r.Header["A"] = []string{"b\r\nc: d"} }},
		{"line end in Upgrade", func(r *Request) { r.Upgrade = "a\nb" }},
		{"name of a trailer", func(r *Request) { r.with("a"); r.Length = -1; r.Trailer = http.Header{"a b": nil} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var dialed atomic.Int64
			r := request("GET")
			tt.change(r)
			c := open(t, "127.0.0.1:1", ways[0].wrap, counted(&dialed))
			if e := wantKind(t, c.Do(t.Context(), &Trip{}, r, &Answer{}), Invalid); e.Sent || dialed.Load() > 0 {
				t.Errorf("sent %t, %d connections", e.Sent, dialed.Load())
			}
		})
	}
}

// TestCloseHandsOver proves, with the race detector, that a connection whose answer was
// closed before it was read is not touched any more when another exchange may have it.
func TestCloseHandsOver(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, _ string) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort")
			return true
		})), wrap, func(s *Settings) { s.MaxIdle = 1 })
		over := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			defer close(over)
			for range 20 {
				a := &Answer{}
				if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
					t.Error(err)
					return
				}
				_ = a.Body.Close()
				<-time.After(time.Millisecond) // in which the other takes the connection
			}
		})
		defer all.Wait()
		for {
			select {
			case <-over:
				return
			default:
			}
			a := &Answer{}
			if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Body.(io.WriterTo).WriteTo(io.Discard); err != nil {
				t.Error(err)
			}
			_ = a.Body.Close()
		}
	})
}
