package pool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// sorted brings the lines of a head after the first two into an order: that of the
// headers means nothing.
func sorted(message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[min(2, len(lines)):])
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// TestRequestBytes proves what goes to the agent, byte for byte but for the order of
// the headers, of which Host is the first.
func TestRequestBytes(t *testing.T) {
	tests := []struct {
		name   string
		method string
		base   string // path of the endpoint
		host   string
		target *url.URL
		header http.Header
		body   string
		length int64
		want   string // H stands for the endpoint's host
	}{
		{
			name: "plain", method: "GET", target: &url.URL{Path: "/a", RawQuery: "b=c&d=%20"},
			want: "GET /a?b=c&d=%20 HTTP/1.1\r\nHost: H\r\n\r\n",
		},
		{
			name: "base", method: "GET", base: "/agents/one/", target: &url.URL{Path: "/a"},
			want: "GET /agents/one/a HTTP/1.1\r\nHost: H\r\n\r\n",
		},
		{
			name: "base and root", method: "GET", base: "/agents", target: &url.URL{Path: "/", ForceQuery: true},
			want: "GET /agents/? HTTP/1.1\r\nHost: H\r\n\r\n",
		},
		{
			name: "escapes stay", method: "GET", base: "/b%20c", target: &url.URL{Path: "/a b(c)/ü", RawPath: "/a%20b(c)/%C3%BC"},
			want: "GET /b%20c/a%20b(c)/%C3%BC HTTP/1.1\r\nHost: H\r\n\r\n",
		},
		{
			name: "server as a whole", method: "OPTIONS", base: "/b", target: &url.URL{Path: "*"},
			want: "OPTIONS * HTTP/1.1\r\nHost: H\r\n\r\n",
		},
		{
			name: "preserved host", method: "GET", host: HostPreserve, target: &url.URL{Path: "/"},
			want: "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
		},
		{
			name: "literal host", method: "GET", host: "agent.internal:81", target: &url.URL{Path: "/"},
			want: "GET / HTTP/1.1\r\nHost: agent.internal:81\r\n\r\n",
		},
		{
			name: "headers", method: "GET", target: &url.URL{Path: "/"},
			header: http.Header{
				"User-Agent": {"curl/8"}, "Te": {"trailers, deflate"}, "Connection": {"close"}, "Keep-Alive": {"timeout=5"},
				"Proxy-Connection": {"x"}, "Transfer-Encoding": {"chunked"}, "X-A": {"1", "2"}, "Accept-Encoding": {"br"},
			},
			want: "GET / HTTP/1.1\r\nHost: H\r\nUser-Agent: curl/8\r\nAccept-Encoding: br\r\nConnection: TE\r\nTe: trailers\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
		},
		{
			name: "length", method: "POST", target: &url.URL{Path: "/"}, body: "hello", length: 5,
			want: "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\n\r\nhello",
		},
		{
			name: "empty", method: "POST", target: &url.URL{Path: "/"},
			want: "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\n\r\n",
		},
		{
			name: "unknown length", method: "POST", target: &url.URL{Path: "/"}, body: "hello", length: -1,
			want: "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		},
		{
			name: "body of unknown length where there usually is none", method: "GET", target: &url.URL{Path: "/"}, body: "hello", length: -1,
			want: "GET / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		},
		{
			name: "idempotent by key", method: "POST", target: &url.URL{Path: "/"}, header: http.Header{"Idempotency-Key": {"k"}},
			want: "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\nIdempotency-Key: k\r\n\r\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wants, got := make(chan string, 1), make(chan string, 1)
			address := raw(t, func(c *net.TCPConn) {
				b := make([]byte, len(<-wants))
				n, _ := io.ReadFull(c, b)
				got <- string(b[:n])
				write(c, "HTTP/1.1 204 No Content\r\n\r\n")
				hold(c)
			})
			want := strings.Replace(tt.want, "Host: H\r\n", "Host: "+strings.TrimPrefix(address, "http://")+"\r\n", 1)
			wants <- want
			if tt.host == "" {
				tt.host = HostUpstream
			}
			p := pool1(t, address+tt.base, link(), func(s *Settings) { s.Host = tt.host })
			x := exchange(t, tt.method, "/", nil)
			if tt.body != "" {
				x = exchange(t, tt.method, "/", strings.NewReader(tt.body))
			}
			x.Request.URL, x.Request.Host = tt.target, "example.com"
			x.Request.ContentLength = tt.length
			if tt.header != nil {
				x.Request.Header = tt.header
			}
			before := x.Request.Header.Clone()
			if _, _, err := ask(t, p, x); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sorted(want), sorted(<-got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(before, x.Request.Header); diff != "" {
				t.Errorf("the header of the exchange was changed (-want +got)\n%s", diff)
			}
		})
	}
}

// TestAnswer proves what comes back.
func TestAnswer(t *testing.T) {
	tests := []struct {
		name   string
		method string
		answer string
		status int
		header http.Header
		length int64
		body   string
	}{
		{
			name: "length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello",
			status: 200, header: http.Header{"Content-Length": {"5"}, "X-A": {"1", "2"}}, length: 5, body: "hello",
		},
		{
			name: "chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
			status: 200, header: http.Header{}, length: -1, body: "hello",
		},
		{
			name: "ended by the connection", answer: "HTTP/1.0 200 OK\r\n\r\nhello",
			status: 200, header: http.Header{}, length: -1, body: "hello",
		},
		{
			name: "hop by hop", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: keep-alive, x-secret\r\nX-Secret: 1\r\n" +
				"Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-A: 1\r\n\r\n",
			status: 200, header: http.Header{"Content-Length": {"0"}, "X-A": {"1"}},
		},
		{
			name: "head", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
			status: 200, header: http.Header{"Content-Length": {"5"}}, length: 5,
		},
		{
			name: "no content", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
			status: 204, header: http.Header{},
		},
		{
			name: "not modified", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n",
			status: 304, header: http.Header{"Content-Length": {"5"}, "Etag": {`"a"`}},
		},
		{
			name: "compressed stays compressed", answer: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz",
			status: 200, header: http.Header{"Content-Length": {"3"}, "Content-Encoding": {"gzip"}}, length: 3, body: "xyz",
		},
		{
			name: "odd status", answer: "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
			status: 799, header: http.Header{"Content-Length": {"0"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pool1(t, raw(t, func(c *net.TCPConn) { head(c); write(c, tt.answer) }), link())
			if tt.method == "" {
				tt.method = "GET"
			}
			x := exchange(t, tt.method, "/", nil)
			resp, body, err := ask(t, p, x)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || body != tt.body {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			if resp.StatusCode != 304 && resp.ContentLength != tt.length {
				t.Errorf("got length %d, want %d", resp.ContentLength, tt.length)
			}
			if diff := cmp.Diff(tt.header, resp.Header); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if resp.Close || resp.TransferEncoding != nil || resp.Request != x.Request {
				t.Errorf("the answer still speaks of the connection to the agent: %+v", resp)
			}
		})
	}
}

// TestTrailers proves that trailers pass in both directions, announced or not, but
// for those that say how a message is read.
func TestTrailers(t *testing.T) {
	for _, protocol := range []string{H1, H2C} {
		t.Run(protocol, func(t *testing.T) {
			var got http.Header
			p := pool1(t, serveAll(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				got = r.Trailer
				w.Header().Set("Trailer", "X-Sum")
				_, _ = io.WriteString(w, "hello")
				w.Header().Set("X-Sum", "42")
				w.Header().Set(http.TrailerPrefix+"X-Late", "1")
			}), linkOf(protocol))
			x := exchange(t, "POST", "/", nil)
			x.Request.Trailer = http.Header{"X-Count": nil}
			x.Request.ContentLength = 4
			x.Request.Body = io.NopCloser(&trailing{Reader: strings.NewReader("body"), trailer: x.Request.Trailer})
			resp, err := p.Handle(x)
			if err != nil {
				t.Fatal(err)
			}
			if _, announced := resp.Trailer["X-Sum"]; !announced {
				t.Errorf("got trailer %v before the body, want X-Sum announced", resp.Trailer)
			}
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(b) != "hello" {
				t.Fatalf("got %q, %v", b, err)
			}
			if diff := cmp.Diff(http.Header{"X-Sum": {"42"}, "X-Late": {"1"}}, resp.Trailer); diff != "" {
				t.Errorf("answer (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(http.Header{"X-Count": {"4"}}, got); diff != "" {
				t.Errorf("request (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("forbidden in an answer", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent_Length: 5\r\nKeep.Alive: x\r\nX-A: 1\r\n\r\n")
		}), link())
		resp, _, err := ask(t, p, exchange(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(http.Header{"X-A": {"1"}}, resp.Trailer); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("forbidden in a request", func(t *testing.T) {
		for _, name := range []string{"Content-Length", "Content_length", "Transfer.Encoding", "tRANSFER~eNCODING", "Host", "Set!Cookie", "Keep|Alive"} {
			x := exchange(t, "POST", "/", strings.NewReader("a"))
			x.Request.Trailer = http.Header{name: nil}
			_, _, err := ask(t, pool1(t, nobody(t), link()), x)
			wantCode(t, err, airside.Invalid)
		}
	})
}

// trailing fills in the trailer at its end, as a server does.
type trailing struct {
	io.Reader
	trailer http.Header
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("X-Count", "4")
	}
	return n, err
}

// serveAll starts an agent that speaks HTTP/1.1 and unencrypted HTTP/2.
func serveAll(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func linkOf(protocol string) Link {
	l := link()
	l.Protocol = protocol
	return l
}

// TestInform proves that interim answers pass, the first five of them, without what
// is about the connection.
func TestInform(t *testing.T) {
	p := pool1(t, raw(t, func(c *net.TCPConn) {
		head(c)
		for i := range 8 {
			write(c, fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nLink: <%d>\r\nConnection: X-A\r\nX-A: 1\r\nAlt-Svc: h3=\":1\"\r\n\r\n", i))
		}
		write(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}), link())
	x := exchange(t, "GET", "/", nil)
	var got []string
	x.Inform = func(status int, h http.Header) { got = append(got, fmt.Sprint(status, h)) }
	if _, _, err := ask(t, p, x); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("103 map[Link:[<%d>]]", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	x.Inform = nil
	if _, _, err := ask(t, p, x); err != nil {
		t.Errorf("a client that cannot be told: %v", err)
	}
}

// TestUpgrade proves that a connection changes hands after a 101, that both ways work,
// and that nothing is left when it ends.
func TestUpgrade(t *testing.T) {
	echo := func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.Header.Get("Connection") != "Upgrade" || req.Header.Get("Upgrade") != "websocket" {
			write(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad")
			return
		}
		write(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nX-A: 1\r\n\r\nready")
		_, _ = io.Copy(c, r)
	}
	upgrading := func(t *testing.T) *airside.Exchange {
		x := exchange(t, "GET", "/", nil)
		x.Request.Header.Set("Upgrade", "websocket")
		return x
	}
	t.Run("echo", func(t *testing.T) {
		p := pool1(t, raw(t, echo), link(), func(s *Settings) { s.Limits.Total = 500 * time.Millisecond })
		resp, err := p.Handle(upgrading(t))
		if err != nil {
			t.Fatal(err)
		}
		want := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}, "X-A": {"1"}}
		if diff := cmp.Diff(want, resp.Header); resp.StatusCode != 101 || diff != "" {
			t.Errorf("got %d (-want +got)\n%s", resp.StatusCode, diff)
		}
		c := resp.Body.(io.ReadWriteCloser)
		<-time.After(600 * time.Millisecond) // beyond the time-out, which does not bound it any more
		for _, s := range []string{"ready", "one", "two"} {
			if s != "ready" {
				if _, err := io.WriteString(c, s); err != nil {
					t.Fatal(err)
				}
			}
			b := make([]byte, len(s))
			if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
				t.Fatalf("got %q, %v, want %q", b, err, s)
			}
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("got %d, %v, want EOF", n, err)
		}
		_ = c.Close()
	})
	t.Run("close ends a read", func(t *testing.T) {
		p := pool1(t, raw(t, echo), link())
		resp, err := p.Handle(upgrading(t))
		if err != nil {
			t.Fatal(err)
		}
		c := resp.Body.(io.ReadWriteCloser)
		_, _ = io.ReadFull(c, make([]byte, 5))
		done := make(chan error)
		go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
		_ = c.Close()
		if err := <-done; err != io.EOF {
			t.Errorf("got %v, want EOF", err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		p := pool1(t, raw(t, echo), link(), func(s *Settings) { s.Limits.StreamIdle = 500 * time.Millisecond })
		resp, err := p.Handle(upgrading(t))
		if err != nil {
			t.Fatal(err)
		}
		c := resp.Body.(io.ReadWriteCloser)
		_, _ = io.ReadFull(c, make([]byte, 5))
		begin := time.Now()
		for range 3 { // writing is no silence
			<-time.After(200 * time.Millisecond)
			_, _ = io.WriteString(c, "x")
			_, _ = io.ReadFull(c, make([]byte, 1))
		}
		_, err = c.Read(make([]byte, 1))
		wantCode(t, err, airside.Timeout)
		if took := time.Since(begin); took < 1100*time.Millisecond {
			t.Errorf("ended after %s", took)
		}
		_ = c.Close()
	})
	t.Run("the client leaves", func(t *testing.T) {
		p := pool1(t, raw(t, echo), link())
		x := upgrading(t)
		ctx, cancel := context.WithCancel(x.Context())
		x.Request = x.Request.WithContext(ctx)
		resp, err := p.Handle(x)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_, err = io.Copy(io.Discard, resp.Body)
		wantCode(t, err, airside.Canceled)
		_ = resp.Body.Close()
	})
	t.Run("refused by the agent", func(t *testing.T) {
		p := pool1(t, raw(t, echo), link())
		x := upgrading(t)
		x.Request.Header.Set("Upgrade", "other")
		resp, body, err := ask(t, p, x)
		if err != nil || resp.StatusCode != 400 || body != "bad" {
			t.Errorf("got %v, %q, %v", resp, body, err)
		}
	})
	t.Run("another protocol", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			hold(c)
		}), link())
		_, _, err := ask(t, p, upgrading(t))
		wantCode(t, err, airside.UpstreamFailed)
	})
	t.Run("over HTTP/2", func(t *testing.T) {
		p := pool1(t, nobody(t), linkOf(H2C))
		_, _, err := ask(t, p, upgrading(t))
		wantCode(t, err, airside.Unsupported)
		if e := p.Snapshot().Endpoints[0]; e.Requests != 0 {
			t.Errorf("%d requests were counted, and none was sent", e.Requests)
		}
	})
}

// TestConnect proves that CONNECT is refused.
func TestConnect(t *testing.T) {
	x := exchange(t, "GET", "/", nil)
	x.Request.Method = "CONNECT"
	_, _, err := ask(t, pool1(t, nobody(t), link()), x)
	wantCode(t, err, airside.Unsupported)
}

// TestUnsendable proves that a request which cannot be written down is our fault, not
// the agent's.
func TestUnsendable(t *testing.T) {
	x := exchange(t, "GET", "/", nil)
	x.Request.Header["Bad Name"] = []string{"x"}
	_, _, err := ask(t, pool1(t, nobody(t), link()), x)
	wantCode(t, err, airside.Internal)
}
