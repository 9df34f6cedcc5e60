package pool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
)

// chosen is the engine that the tests are run on.
var chosen = EngineFast

func TestMain(m *testing.M) { goleak.VerifyTestMain(both{m}) }

// both runs all tests on both engines.
type both struct{ *testing.M }

func (b both) Run() int {
	code := b.M.Run()
	chosen = EngineStd
	fmt.Println("now on the engine of net/http") //nolint:forbidigo // there is no test yet, or no more, that could say it
	return max(code, b.M.Run())
}

// limits are generous: a test that needs one to pass sets it.
var limits = Limits{FirstByte: time.Minute, StreamIdle: time.Minute}

func link() Link {
	return Link{Protocol: Auto, Engine: chosen, Poison: true, Connect: time.Minute, Handshake: time.Minute, Idle: time.Minute, MaxIdle: 16}
}

// pool1 is a pool of one endpoint that is closed with the test.
func pool1(t *testing.T, address string, l Link, change ...func(*Settings)) *Pool {
	t.Helper()
	s := Settings{Members: []Member{member1(t, address, l)}, Limits: limits, Host: HostUpstream}
	for _, c := range change {
		c(&s)
	}
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func member1(t *testing.T, address string, l Link) Member {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(u, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if n := e.Active(); n != 0 {
			t.Errorf("%d places at %s were not given back", n, address)
		}
	})
	return Member{Endpoint: e, Path: u.EscapedPath(), Weight: 1}
}

// exchange makes an exchange the way the edge does.
func exchange(t *testing.T, method, target string, body io.Reader) *airside.Exchange {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, body)
	if body == nil {
		r.Body = http.NoBody
	}
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// ask makes one exchange and reads the whole answer.
func ask(t *testing.T, p airside.Handler, x *airside.Exchange) (*http.Response, string, error) {
	t.Helper()
	resp, err := p.Handle(x)
	if err != nil {
		return nil, "", err
	}
	b, err := readAll(resp.Body, len(t.Name())%2 == 0)
	kept := *resp // what is not valid after Close
	kept.Header = resp.Header.Clone()
	if cerr := resp.Body.Close(); cerr != nil {
		t.Error(cerr)
	}
	return &kept, string(b), err
}

// readAll reads a body in one of both ways.
func readAll(body io.Reader, relay bool) ([]byte, error) {
	if w, ok := body.(io.WriterTo); ok && relay {
		var b bytes.Buffer
		n, err := w.WriteTo(struct{ io.Writer }{&b})
		if int(n) != b.Len() {
			err = errors.Join(err, fmt.Errorf("%d bytes were written, but %d are said to be", b.Len(), n))
		}
		return b.Bytes(), err
	}
	return io.ReadAll(body)
}

// serve starts an agent that speaks HTTP.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// raw starts an agent that does with every connection what f says. The connection
// is closed when f returns.
func raw(t *testing.T, f func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
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
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// head reads the head of a request.
func head(c net.Conn) string {
	var b strings.Builder
	r := bufio.NewReaderSize(c, 16)
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// newReader reads no further than it is asked to, so that the next reader of the
// connection misses nothing of what a client sends that waits for every answer.
func newReader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 4<<10) }

// write sends a string, and does not care whether it arrives.
func write(c net.Conn, s string) { _, _ = io.WriteString(c, s) }

// reset closes a connection by a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// hold blocks until the connection is closed by the other side.
func hold(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// wantCode checks that err is an [airside.Error] of the code, and returns it.
func wantCode(t *testing.T, err error, want airside.Code) *airside.Error {
	t.Helper()
	e, ok := errors.AsType[*airside.Error](err)
	if !ok {
		t.Fatalf("got %v, want an airside.Error with %s", err, want)
	}
	if e.Code != want {
		t.Errorf("got code %s, want %s (%v)", e.Code, want, e)
	}
	return e
}

// endless is a client that goes on sending until its context ends.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, io.ErrUnexpectedEOF
	}
	clear(p)
	return len(p), nil
}

// stalled is a client that sends something and then nothing more, until it is let go.
type stalled struct {
	first io.Reader
	let   chan struct{}
}

func stall(t *testing.T, first string) *stalled {
	s := &stalled{first: strings.NewReader(first), let: make(chan struct{})}
	t.Cleanup(func() { close(s.let) })
	return s
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, _ := s.first.Read(p); n > 0 {
		return n, nil
	}
	<-s.let
	return 0, io.ErrUnexpectedEOF
}
