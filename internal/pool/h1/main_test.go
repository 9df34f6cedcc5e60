package h1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wrapped is a connection that cannot be driven, as on other systems.
type wrapped struct{ net.Conn }

func (w wrapped) CloseWrite() error {
	c, ok := w.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return c.CloseWrite()
}

// ways are both ways to use a connection.
var ways = []struct {
	name string
	wrap func(net.Conn) net.Conn
}{
	{"driven", func(c net.Conn) net.Conn { return c }},
	{"plain", func(c net.Conn) net.Conn { return wrapped{c} }},
}

// eachWay runs a test both ways.
func eachWay(t *testing.T, f func(t *testing.T, wrap func(net.Conn) net.Conn)) {
	t.Helper()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { f(t, w.wrap) })
	}
}

// open makes a client of an address. When the test ends, nothing it started goes on.
func open(t testing.TB, address string, wrap func(net.Conn) net.Conn, change ...func(*Settings)) *Client {
	t.Helper()
	var all sync.WaitGroup
	s := Settings{
		MaxIdle: 8, Idle: time.Minute, MaxHead: 256 << 10, Poison: true, Go: all.Go,
		Dial: func(ctx context.Context) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return wrap(c), nil
		},
	}
	for _, c := range change {
		c(&s)
	}
	c := New(s)
	t.Cleanup(func() {
		c.Close()
		all.Wait()
	})
	return c
}

// agent does with every connection what f says. The connection is closed when f
// returns.
func agent(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() {
				f(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// says answers the first request with some bytes, in pieces if told so, and closes.
func says(pieces ...string) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
		for _, p := range pieces {
			_, _ = io.WriteString(c, p)
		}
	}
}

// requests calls f for every request that comes over a connection, with its body,
// until one is malformed or f says no.
func requests(f func(c *net.TCPConn, r *http.Request, body string) bool) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		b := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || !f(c, r, string(body)) {
				return
			}
		}
	}
}

func hold(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func nothing(string) bool { return false }

func request(method string) *Request {
	return &Request{Method: method, Host: "agent", Path: "/", Header: http.Header{}, Drop: nothing, Repeatable: method == "GET" || method == "PUT"}
}

// with adds a body of known length.
func (r *Request) with(body string) *Request {
	r.Body, r.Length = strings.NewReader(body), int64(len(body))
	return r
}

// buffered is a body that is at hand.
type buffered struct{ *strings.Reader }

func (b buffered) Buffered() int { return b.Len() }

// ask makes one exchange and reads the whole answer.
func ask(t *testing.T, c *Client, r *Request) (*Answer, string, error) {
	t.Helper()
	a := &Answer{}
	if err := c.Do(t.Context(), &Trip{}, r, a); err != nil {
		return a, "", err
	}
	b, err := io.ReadAll(a.Body)
	a.Header = a.Header.Clone()
	kept := &Answer{Response: a.Response}
	if cerr := a.Body.Close(); cerr != nil {
		t.Error(cerr)
	}
	return kept, string(b), err
}

// wantKind checks that err is an [Error] of the kind.
func wantKind(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an Error", err)
	}
	if e.Kind != want {
		t.Errorf("got kind %d, want %d: %v", e.Kind, want, e)
	}
	return e
}
