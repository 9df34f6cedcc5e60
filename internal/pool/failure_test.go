package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String()
}

// deaf is an address that answers no attempt to connect: its queue is full.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return "http://" + address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

// TestFailures is the table of what an agent can do wrong, and what the client is
// told. No message holds an address or the text of an error.
func TestFailures(t *testing.T) {
	soon := func(s *Settings) { s.Limits = Limits{FirstByte: 60 * time.Millisecond} }
	idle := func(s *Settings) { s.Limits = Limits{StreamIdle: 60 * time.Millisecond} }
	total := func(s *Settings) { s.Limits = Limits{Total: 400 * time.Millisecond} }
	says := func(answer string) func(c *net.TCPConn) {
		return func(c *net.TCPConn) { head(c); write(c, answer) }
	}
	tests := []struct {
		name    string
		address string
		f       func(c *net.TCPConn) // in the place of address
		link    func(*Link)
		change  func(*Settings)
		code    airside.Code
		message string
		sent    bool
		body    string // what comes of the answer before it fails
	}{
		{
			name: "refused", address: nobody(t),
			code: airside.UpstreamFailed, message: "the agent refused the connection",
		},
		{
			name: "connect time-out", address: deaf(t), link: func(l *Link) { l.Connect = 80 * time.Millisecond },
			code: airside.Timeout, message: "the agent could not be reached within 80ms",
		},
		{
			name: "accept and reset", f: func(c *net.TCPConn) { head(c); reset(c) },
			code: airside.UpstreamFailed, message: "the agent ended the connection before it answered", sent: true,
		},
		{
			name: "accept and close", f: func(c *net.TCPConn) { head(c) },
			code: airside.UpstreamFailed, message: "the agent ended the connection before it answered", sent: true,
		},
		{
			name: "half a head", f: says("HTTP/1.1 200 OK\r\nContent-Le"),
			code: airside.UpstreamFailed, message: "the agent ended the connection before it answered", sent: true,
		},
		{
			name: "garbage", f: says("SSH-2.0-OpenSSH\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "garbage in a header", f: says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "two lengths", f: says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "control character in a header", f: says("HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "no status", f: says("HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "giant head", f: says("HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 300<<10) + "\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the head of the agent's answer is larger than 256KiB", sent: true,
		},
		{
			name: "interim answers without end", f: func(c *net.TCPConn) {
				head(c)
				write(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 101))
				hold(c)
			},
			code: airside.UpstreamFailed, message: "the answer of the agent is not valid HTTP", sent: true,
		},
		{
			name: "unasked upgrade", f: says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
			code: airside.UpstreamFailed, message: "the agent switched to a protocol that nobody asked for", sent: true,
		},
		{
			name: "silent", f: func(c *net.TCPConn) { hold(c) }, change: soon,
			code: airside.Timeout, message: "the agent did not answer within 60ms", sent: true,
		},
		{
			name: "silent to the end", f: func(c *net.TCPConn) { hold(c) }, change: total,
			code: airside.Timeout, message: "the agent did not finish its answer within 400ms", sent: true,
		},
		{
			name: "half a body", f: says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
			code: airside.UpstreamFailed, message: "the answer of the agent ended before it was complete", sent: true, body: "half",
		},
		{
			name: "half a body and a reset", f: func(c *net.TCPConn) {
				head(c)
				write(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				_, _ = io.ReadFull(c, make([]byte, 1)) // until the client has it
				reset(c)
			},
			code: airside.UpstreamFailed, message: "the answer of the agent ended before it was complete", sent: true, body: "half",
		},
		{
			name: "half a chunk", f: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf"),
			code: airside.UpstreamFailed, message: "the answer of the agent ended before it was complete", sent: true, body: "half",
		},
		{
			name: "no last chunk", f: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent ended before it was complete", sent: true, body: "half",
		},
		{
			name: "malformed chunk", f: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n"),
			code: airside.UpstreamFailed, message: "the answer of the agent ended before it was complete", sent: true, body: "half",
		},
		{
			name: "slow body", f: func(c *net.TCPConn) { says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")(c); hold(c) }, change: idle,
			code: airside.Timeout, message: "the answer of the agent was silent for longer than 60ms", sent: true, body: "half",
		},
		{
			name: "endless body", f: func(c *net.TCPConn) { says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")(c); hold(c) }, change: total,
			code: airside.Timeout, message: "the agent did not finish its answer within 400ms", sent: true, body: "half",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := link()
			if tt.link != nil {
				tt.link(&l)
			}
			if tt.change == nil {
				tt.change = func(*Settings) {}
			}
			if tt.address == "" {
				tt.address = raw(t, tt.f)
			}
			p := pool1(t, tt.address, l, tt.change, strict(t))
			x := exchange(t, "GET", "/", nil)
			_, body, err := askHalf(t, p, x, tt.name == "half a body and a reset")
			e := wantCode(t, err, tt.code)
			if e.Message != tt.message {
				t.Errorf("got message %q, want %q", e.Message, tt.message)
			}
			if got := !NothingSent(err); got != tt.sent {
				t.Errorf("sent: got %t, want %t", got, tt.sent)
			}
			if body != tt.body {
				t.Errorf("got body %q, want %q", body, tt.body)
			}
			if strings.HasPrefix(tt.message, "the answer of the agent ended") && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v is no io.ErrUnexpectedEOF", err)
			}
			wantState(t, p, StateOpen, tt.message)
		})
	}
}

// askHalf is ask; poke sends the agent a byte once a part of the answer has come.
func askHalf(t *testing.T, p *Pool, x *airside.Exchange, poke bool) (*http.Response, string, error) {
	if !poke {
		return ask(t, p, x)
	}
	pr, pw := io.Pipe()
	x.Request.Method, x.Request.ContentLength = "POST", -1
	x.Request.Body = pr
	resp, err := p.Handle(x)
	if err != nil {
		return nil, "", err
	}
	buf := make([]byte, 64)
	n, err := resp.Body.Read(buf)
	if err != nil {
		return nil, "", err
	}
	_, _ = io.WriteString(pw, "more")
	_, err = resp.Body.Read(buf[n:])
	_ = pw.Close()
	_ = resp.Body.Close()
	return resp, string(buf[:n]), err
}

// TestClientFaults proves that what is wrong with the client's body is never an
// agent's fault: no 5xx, whatever the agent makes of it.
func TestClientFaults(t *testing.T) {
	agents := []struct {
		name    string
		address string
	}{
		{"patient", serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })},
		{"silent", raw(t, func(c *net.TCPConn) { hold(c) })},
	}
	broken := errors.New("http: invalid chunk")
	tests := []struct {
		name   string
		body   string
		err    error // how it ends
		length int64
		limit  int64
		code   airside.Code
	}{
		{"phrased", "", airside.Errorf(airside.RequestTimeout, "too slow"), -1, -1, airside.RequestTimeout},
		{"bare", "", broken, -1, -1, airside.Invalid},
		{"of known length", "", broken, 100, -1, airside.Invalid},
		{"short", "short", io.EOF, 100, -1, airside.Invalid},
		{"too large", "too large", io.EOF, -1, 4, airside.TooLarge},
		{"announced too large", "too large", io.EOF, 9, 4, airside.TooLarge},
	}
	for _, tt := range tests {
		for _, a := range agents {
			t.Run(tt.name+"/"+a.name, func(t *testing.T) {
				p := pool1(t, a.address, link(), strict(t))
				x := exchange(t, "POST", "/", nil)
				x.Request.ContentLength = tt.length
				x.Request.Body = io.NopCloser(io.MultiReader(strings.NewReader(tt.body), failing{tt.err}))
				x = airside.NewExchange(x.Request, x.Log)
				x.LimitBody(tt.limit)
				_, _, err := ask(t, p, x)
				wantCode(t, err, tt.code)
				wantState(t, p, StateHealthy, "")
			})
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestDialKinds proves how errors of the resolver and of the operating system are
// told apart.
func TestDialKinds(t *testing.T) {
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-late.Done()
	wrap := func(errno syscall.Errno) error { return &net.OpError{Op: "dial", Net: "tcp", Err: errno} }
	tests := []struct {
		ctx  context.Context
		err  error
		want kind
	}{
		{t.Context(), &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "agent", IsNotFound: true}}, noName},
		{t.Context(), wrap(syscall.ECONNREFUSED), refused},
		{t.Context(), wrap(syscall.EHOSTUNREACH), unreachable},
		{t.Context(), wrap(syscall.ENETUNREACH), unreachable},
		{t.Context(), wrap(syscall.EMFILE), exhausted},
		{t.Context(), wrap(syscall.EADDRNOTAVAIL), exhausted},
		{late, wrap(syscall.ECONNREFUSED), connectTimeout},
	}
	for _, tt := range tests {
		if got := dialKind(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, phrases[got].message, phrases[tt.want].message)
		}
	}
}

// TestPhrases proves that every kind of failure has its words.
func TestPhrases(t *testing.T) {
	for k := full; k <= idleTimeout; k++ {
		e := (&failure{kind: k, after: time.Minute}).phrase()
		if e.Code.Status() < 500 || e.Message == "" || strings.Contains(e.Message, "%") {
			t.Errorf("kind %d: %s %q", k, e.Code, e.Message)
		}
	}
	got := (&failure{kind: full}).phrase()
	if got.RetryAfter != time.Second {
		t.Errorf("a full endpoint: got Retry-After %s, want 1s", got.RetryAfter)
	}
}

// TestSpell proves that durations are written as one would.
func TestSpell(t *testing.T) {
	got := []string{}
	for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 90 * time.Second, time.Hour, 25 * time.Millisecond, 10 * time.Minute} {
		got = append(got, spell(d))
	}
	want := []string{"1s", "10s", "1m", "1m30s", "1h", "25ms", "10m"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRouteDeadline proves that a deadline of the route is told as such.
func TestRouteDeadline(t *testing.T) {
	p := pool1(t, raw(t, func(c *net.TCPConn) { hold(c) }), link())
	for _, tt := range []struct {
		name  string
		cause error
		code  airside.Code
	}{
		{"bare", nil, airside.Timeout},
		{"with words of its own", airside.Errorf(airside.Unavailable, "draining"), airside.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := exchange(t, "GET", "/", nil)
			ctx, cancel := context.WithTimeoutCause(x.Context(), 30*time.Millisecond, tt.cause)
			defer cancel()
			x.Request = x.Request.WithContext(ctx)
			_, _, err := ask(t, p, x)
			wantCode(t, err, tt.code)
		})
	}
}
