package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBodies proves that every kind of body arrives, with the right framing, and that
// the connection is used again.
func TestBodies(t *testing.T) {
	sizes := []int{1, 1 << 10, ShortBody - 1, ShortBody, ShortBody + 1, outSize, 3*outSize + 7, 8 << 20}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		var dialed atomic.Int64
		c := open(t, agent(t, requests(func(c *net.TCPConn, r *http.Request, body string) bool {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nLength: %d\r\nSum: %s\r\nContent-Length: %d\r\n\r\n%s", r.ContentLength, r.Trailer.Get("Sum"), len(body), body)
			return true
		})), wrap, counted(&dialed))
		for _, size := range sizes {
			want := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			for _, kind := range []string{"at hand", "partly at hand", "stream", "chunked", "chunked with trailers"} {
				r := request("POST").with(want)
				switch kind {
				case "at hand":
					r.Body = buffered{strings.NewReader(want)}
				case "partly at hand":
					r.Body = &partly{strings.NewReader(want), size / 2}
				case "chunked":
					r.Length = -1
				case "chunked with trailers":
					r.Length, r.Trailer = -1, http.Header{"Sum": nil}
					r.Body = &trailing{r.Body, r.Trailer}
				}
				length, sum := fmt.Sprint(r.Length), ""
				if r.Trailer != nil {
					sum = "1"
				}
				a, got, err := ask(t, c, r)
				if err != nil || got != want {
					t.Fatalf("%s, %d: got %d bytes, %v", kind, size, len(got), err)
				}
				if a.Header.Get("Length") != length || a.Header.Get("Sum") != sum {
					t.Errorf("%s, %d: got length %s and trailer %q, want %s and %q", kind, size, a.Header.Get("Length"), a.Header.Get("Sum"), length, sum)
				}
			}
		}
		if dialed.Load() != 1 {
			t.Errorf("got %d connections, want 1", dialed.Load())
		}
	})
}

type partly struct {
	io.Reader
	n int
}

func (p *partly) Buffered() int { return p.n }

// trailing fills in the trailer at its end.
type trailing struct {
	io.Reader
	trailer http.Header
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("Sum", "1")
	}
	return n, err
}

// gathered notes every write.
type gathered struct {
	net.Conn
	mu     sync.Mutex
	writes []string
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	g.writes = append(g.writes, string(p))
	g.mu.Unlock()
	return g.Conn.Write(p)
}

// TestOneWrite proves that a short body that is at hand goes with the head, and that a
// chunk is one write with its framing.
func TestOneWrite(t *testing.T) {
	tests := []struct {
		name   string
		body   io.Reader
		length int64
		want   []string
	}{
		{"at hand", buffered{strings.NewReader("body")}, 4, []string{"POST / HTTP/1.1\r\nHost: agent\r\nContent-Length: 4\r\n\r\nbody"}},
		{"chunked", strings.NewReader("body"), -1, []string{
			"POST / HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n", "0\r\n\r\n",
		}},
		{"none", nil, 0, []string{"POST / HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &gathered{}
			c := open(t, agent(t, requests(func(c *net.TCPConn, _ *http.Request, _ string) bool { _, _ = io.WriteString(c, fine); return true })),
				func(c net.Conn) net.Conn { g.Conn = c; return g })
			r := request("POST")
			r.Body, r.Length = tt.body, tt.length
			if _, _, err := ask(t, c, r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, g.writes); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// endless is a body without end, until it is let go.
type endless struct{ let chan struct{} }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.let:
		return 0, io.ErrUnexpectedEOF
	default:
		clear(p)
		return len(p), nil
	}
}

// stalled is a body that sends something and then nothing more, until it is let go.
type stalled struct {
	first io.Reader
	let   chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, _ := s.first.Read(p); n > 0 {
		return n, nil
	}
	<-s.let
	return 0, io.ErrUnexpectedEOF
}

// TestEarly proves that an answer which comes before the body was read is passed on
// whole, however the agent ends the connection and whatever the body does.
func TestEarly(t *testing.T) {
	const answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much"
	head := func(c net.Conn) { _, _ = bufio.NewReaderSize(c, 16).ReadString('\n') }
	agents := []struct {
		name string
		f    func(c *net.TCPConn, let chan struct{})
	}{
		{"resets", func(c *net.TCPConn, _ chan struct{}) { head(c); _, _ = io.WriteString(c, answer) }},
		{"ends its side", func(c *net.TCPConn, _ chan struct{}) {
			head(c)
			_, _ = io.WriteString(c, answer)
			_ = c.CloseWrite()
			_, _ = io.CopyN(io.Discard, c, 1<<20)
		}},
		{"reads on", func(c *net.TCPConn, _ chan struct{}) { head(c); _, _ = io.WriteString(c, answer); hold(c) }},
		{"reads no more", func(c *net.TCPConn, let chan struct{}) { head(c); _, _ = io.WriteString(c, answer); <-let }},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, a := range agents {
			for _, length := range []int64{-1, 1 << 40} {
				for _, stalls := range []bool{false, true} {
					t.Run(fmt.Sprint(a.name, length, stalls), func(t *testing.T) {
						let := make(chan struct{})
						c := open(t, agent(t, func(c *net.TCPConn) { a.f(c, let) }), wrap)
						t.Cleanup(func() { close(let) })
						for range 20 {
							r := request("POST")
							r.Body, r.Length = endless{let}, length
							if stalls {
								r.Body = &stalled{strings.NewReader("some"), let}
							}
							got, body, err := ask(t, c, r)
							if err != nil || got.StatusCode != 413 || body != "too much" {
								t.Fatalf("got %d %q, %v", got.StatusCode, body, err)
							}
						}
					})
				}
			}
		}
	})
}

// TestFullDuplex proves that the body goes on to be sent while the answer is read.
func TestFullDuplex(t *testing.T) {
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		c := open(t, agent(t, func(c *net.TCPConn) {
			b := bufio.NewReaderSize(c, 64)
			r, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.Copy(c, r.Body)
		}), wrap)
		pr, pw := io.Pipe()
		r := request("POST")
		r.Body, r.Length = pr, -1
		a := &Answer{}
		if err := c.Do(t.Context(), &Trip{}, r, a); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			want := fmt.Sprint("message ", i)
			if _, err := io.WriteString(pw, want); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, len(want))
			if _, err := io.ReadFull(a.Body, b); err != nil || string(b) != want {
				t.Fatalf("got %q, %v", b, err)
			}
		}
		_ = pw.Close()
		if n, err := a.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("got %d, %v, want EOF", n, err)
		}
		_ = a.Body.Close()
	})
}

type breaking struct {
	io.Reader
	err error
}

func (b breaking) Read(p []byte) (int, error) {
	if n, _ := b.Reader.Read(p); n > 0 {
		return n, nil
	}
	return 0, b.err
}

// TestBodyFails proves that a body that fails, or is not as long as announced, ends the
// exchange, and that the agent does not take it for whole.
func TestBodyFails(t *testing.T) {
	broken := errors.New("broken")
	breaks := func() io.Reader { return breaking{strings.NewReader("some"), broken} }
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	atHand := func(body func() io.Reader) func() io.Reader {
		return func() io.Reader { return &partly{body(), 9} }
	}
	tests := []struct {
		name   string
		body   func() io.Reader
		length int64
		want   error
	}{
		{"fails", breaks, 9, broken},
		{"fails, chunked", breaks, -1, broken},
		{"fails, at hand", atHand(breaks), 9, broken},
		{"short", text("some"), 9, io.ErrUnexpectedEOF},
		{"short, at hand", atHand(text("some")), 9, io.ErrUnexpectedEOF},
		{"long", text(strings.Repeat("x", 100)), 9, errLonger},
		{"long, at hand", atHand(text("0123456789")), 9, errLonger},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				whole := make(chan error, 1)
				c := open(t, agent(t, func(c *net.TCPConn) {
					r, err := http.ReadRequest(bufio.NewReader(c))
					if err == nil {
						_, err = io.ReadAll(r.Body)
					}
					whole <- err
					if err == nil {
						hold(c)
					}
				}), wrap)
				r := request("POST")
				r.Body = tt.body()
				r.Length = tt.length
				_, _, err := ask(t, c, r)
				if e := wantKind(t, err, Body); !errors.Is(e, tt.want) {
					t.Errorf("got %v, want %v", e.Err, tt.want)
				}
				c.Close()
				if err := <-whole; err == nil && tt.want != errLonger {
					t.Error("the agent took the body for whole")
				}
			})
		}
	})
}

// TestContinue proves that a body which expects 100 (Continue) waits for it, is not
// touched if another answer comes, and is sent after a while if none does.
func TestContinue(t *testing.T) {
	tests := []struct {
		name   string
		first  string
		status int
		read   bool
	}{
		{"wanted", "HTTP/1.1 100 Continue\r\n\r\n", 200, true},
		{"refused", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", 401, false},
		{"silent", "", 200, true},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				var touched atomic.Bool
				c := open(t, agent(t, func(c *net.TCPConn) {
					b := bufio.NewReader(c)
					r, err := http.ReadRequest(b)
					if err != nil {
						return
					}
					if touched.Load() {
						t.Error("the body was read before the agent asked for it")
					}
					_, _ = io.WriteString(c, tt.first)
					if tt.status == 200 {
						body, _ := io.ReadAll(r.Body)
						_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
					}
					hold(c)
				}), wrap)
				r := request("POST").with("body")
				r.Body, r.Expect = &touching{buffered{strings.NewReader("body")}, &touched}, true
				a, body, err := ask(t, c, r)
				want := "body"
				if !tt.read {
					want = "no"
				}
				if err != nil || a.StatusCode != tt.status || body != want || touched.Load() != tt.read {
					t.Errorf("got %d %q, %v, read: %t", a.StatusCode, body, err, touched.Load())
				}
			})
		}
	})
}

type touching struct {
	buffered
	touched *atomic.Bool
}

func (b *touching) Read(p []byte) (int, error) {
	b.touched.Store(true)
	return b.buffered.Read(p)
}
