package pool

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

const tooMuch = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo much\n"

// TestEarlyAnswer proves that an answer which comes before the request body was
// read is passed on whole, every time, however the agent ends the connection.
func TestEarlyAnswer(t *testing.T) {
	agents := []struct {
		name string
		f    func(c *net.TCPConn)
	}{
		{"polite", func(c *net.TCPConn) { // sends, ends its side, and reads on for a while
			head(c)
			write(c, tooMuch)
			_ = c.CloseWrite()
			_, _ = io.CopyN(io.Discard, c, 1<<20)
		}},
		{"at once", func(c *net.TCPConn) { // closes with unread data, which is a reset
			head(c)
			write(c, tooMuch)
		}},
		{"before the body", func(c *net.TCPConn) {
			head(c)
			write(c, tooMuch)
			hold(c)
		}},
		{"no body in the answer", func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}},
		{"chunked", func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ntoo much\n\r\n0\r\n\r\n")
		}},
		{"ended by the connection", func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 413 Content Too Large\r\n\r\ntoo much\n")
			_ = c.CloseWrite()
			_, _ = io.CopyN(io.Discard, c, 1<<20)
		}},
	}
	for _, a := range agents {
		for _, length := range []int64{-1, 1 << 40} {
			t.Run(fmt.Sprintf("%s/%d", a.name, length), func(t *testing.T) {
				p := pool1(t, raw(t, a.f), link())
				for run := range 100 {
					ctx, cancel := context.WithCancel(t.Context())
					x := exchange(t, "POST", "/", endless{ctx})
					x.Request.ContentLength = length
					resp, body, err := ask(t, p, x)
					cancel()
					if err != nil {
						t.Fatalf("run %d: %v", run, err)
					}
					want := "too much\n"
					if resp.ContentLength == 0 {
						want = ""
					}
					if resp.StatusCode != 413 || body != want {
						t.Fatalf("run %d: got %d %q, want 413 %q", run, resp.StatusCode, body, want)
					}
				}
			})
		}
	}
}

// TestFullDuplex proves that the request body goes on to be sent while the answer
// is read.
func TestFullDuplex(t *testing.T) {
	p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		_ = c.Flush()
		_, _ = io.Copy(flusher{w, c}, r.Body)
	}), link())
	pr, pw := io.Pipe()
	resp, err := p.Handle(exchange(t, "POST", "/", pr))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for i := range 20 {
		want := fmt.Sprintf("message %d", i)
		if _, err := io.WriteString(pw, want); err != nil {
			t.Fatal(err)
		}
		n, err := resp.Body.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("got %q, %v, want %q", buf[:n], err, want)
		}
	}
	_ = pw.Close()
	if n, err := resp.Body.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v, want EOF", n, err)
	}
	_ = resp.Body.Close()
}

type flusher struct {
	io.Writer
	c *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	_ = f.c.Flush()
	return n, err
}

// TestStalledClient proves that what happens to the agent is told at once, even while
// a client that stopped sending is being waited for.
func TestStalledClient(t *testing.T) {
	agents := []struct {
		name string
		f    func(c *net.TCPConn)
		code airside.Code // or
		want int
	}{
		{"reset", func(c *net.TCPConn) { head(c); reset(c) }, airside.UpstreamFailed, 0},
		{"close", func(c *net.TCPConn) { head(c); _, _ = io.ReadFull(c, make([]byte, 10)) }, airside.UpstreamFailed, 0},
		{"answer and close", func(c *net.TCPConn) { head(c); write(c, tooMuch) }, "", 413},
		{"garbage", func(c *net.TCPConn) { head(c); write(c, "garbage\r\n\r\n"); hold(c) }, airside.UpstreamFailed, 0},
		{"half a head", func(c *net.TCPConn) { head(c); write(c, "HTTP/1.1 200 OK\r\nX"); reset(c) }, airside.UpstreamFailed, 0},
	}
	for _, a := range agents {
		t.Run(a.name, func(t *testing.T) {
			p := pool1(t, raw(t, a.f), link())
			x := exchange(t, "POST", "/", stall(t, "4\r\nsome"))
			begin := time.Now()
			resp, _, err := ask(t, p, x)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if a.code != "" {
				wantCode(t, err, a.code)
			} else if err != nil || resp.StatusCode != a.want {
				t.Errorf("got %v, %v, want %d", resp, err, a.want)
			}
		})
	}
	t.Run("the client leaves", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) { hold(c) }), link())
		x := exchange(t, "POST", "/", stall(t, "some"))
		ctx, cancel := context.WithCancel(x.Context())
		x.Request = x.Request.WithContext(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		_, _, err := ask(t, p, x)
		wantCode(t, err, airside.Canceled)
	})
	t.Run("the agent is not to blame", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) { hold(c) }), link(), func(s *Settings) { s.Limits.FirstByte = 400 * time.Millisecond })
		x := exchange(t, "POST", "/", &slow{pause: 500 * time.Millisecond, n: 2, err: airside.Errorf(airside.RequestTimeout, "too slow")})
		_, _, err := ask(t, p, x)
		wantCode(t, err, airside.RequestTimeout)
	})
}

// slow is a client that pauses before every piece, and fails in the end.
type slow struct {
	pause time.Duration
	n     int
	err   error
}

func (s *slow) Read(p []byte) (int, error) {
	<-time.After(s.pause)
	if s.n--; s.n < 0 {
		return 0, s.err
	}
	return copy(p, "piece"), nil
}

// TestExpect proves that 100-continue goes from end to end: the client's body is not
// touched before the agent asks for it, and not at all if the agent refuses.
func TestExpect(t *testing.T) {
	read := make(chan struct{})
	newExchange := func(t *testing.T) *airside.Exchange {
		x := exchange(t, "POST", "/", &noting{Reader: strings.NewReader("the body"), first: read})
		x.Request.ContentLength = 8
		x.Request.Header.Set("Expect", "100-continue")
		return x
	}
	t.Run("wanted", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) {
			h := head(c)
			if !strings.Contains(h, "Expect: 100-continue\r\n") {
				t.Errorf("got head %q, want it to expect 100-continue", h)
			}
			select {
			case <-read:
				t.Error("the body was read before the agent asked for it")
			case <-time.After(50 * time.Millisecond):
			}
			write(c, "HTTP/1.1 100 Continue\r\n\r\n")
			b := make([]byte, 8)
			_, _ = io.ReadFull(c, b)
			write(c, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%s", b))
			hold(c)
		}), link())
		_, body, err := ask(t, p, newExchange(t))
		if err != nil || body != "the body" {
			t.Errorf("got %q, %v", body, err)
		}
	})
	read = make(chan struct{})
	t.Run("refused", func(t *testing.T) {
		p := pool1(t, raw(t, func(c *net.TCPConn) {
			head(c)
			write(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			hold(c)
		}), link())
		resp, body, err := ask(t, p, newExchange(t))
		if err != nil || resp.StatusCode != 401 || body != "no" {
			t.Errorf("got %v, %q, %v", resp, body, err)
		}
		select {
		case <-read:
			t.Error("the body was read though the agent did not ask for it")
		default:
		}
	})
	read = make(chan struct{})
	t.Run("silent", func(t *testing.T) { // after a second the body is sent unasked
		p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			<-read
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}), link())
		_, body, err := ask(t, p, newExchange(t))
		if err != nil || body != "the body" {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

// noting closes first when it is read.
type noting struct {
	io.Reader
	first chan struct{}
	done  bool
}

func (n *noting) Read(p []byte) (int, error) {
	if !n.done {
		n.done = true
		close(n.first)
	}
	return n.Reader.Read(p)
}
