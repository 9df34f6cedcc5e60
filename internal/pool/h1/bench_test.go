package h1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// mute is an agent that costs nothing to speak of: it reads what has the length of a
// request and writes an answer that was made beforehand.
func mute(t testing.TB, request int, answer string) string {
	return agent(t, func(c *net.TCPConn) {
		b, out := make([]byte, request), []byte(answer)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

const payload = 1 << 10

func usual() *Request {
	return &Request{
		Method: "POST", Host: "127.0.0.1:9001", Path: "/v1/messages", Drop: nothing, Length: payload,
		Header: http.Header{
			"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"bench/1"}, "X-Request-Id": {"0123456789abcdef"},
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"},
		},
	}
}

func usualAnswer() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nServer: agent\r\n\r\n%s",
		payload, strings.Repeat("x", payload))
}

// headLength is how long the head of r is.
func headLength(t testing.TB, r *Request) int {
	b, err := appendHead(nil, &Request{
		Method: r.Method, Host: r.Host, Path: r.Path, Header: r.Header, Drop: r.Drop, Body: http.NoBody, Length: r.Length,
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// A loader makes one exchange after the other without an allocation of its own, but
// for the answer.
type loader struct {
	client *Client
	trip   Trip
	body   loaded
	r      *Request
}

type loaded struct{ *bytes.Reader }

func (b loaded) Buffered() int { return b.Len() }

func newLoader(t testing.TB) *loader {
	l := &loader{r: usual(), body: loaded{bytes.NewReader(make([]byte, payload))}}
	l.client = open(t, mute(t, headLength(t, l.r)+payload, usualAnswer()), ways[0].wrap, func(s *Settings) { s.Poison = false })
	l.r.Body = l.body
	return l
}

func (l *loader) exchange(t testing.TB) {
	_, _ = l.body.Seek(0, io.SeekStart)
	a := &Answer{}
	if err := l.client.Do(t.Context(), &l.trip, l.r, a); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Body.(io.WriterTo).WriteTo(nowhere{}); n != payload || err != nil {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	_ = a.Body.Close()
	a.Recycle()
	l.trip.Reset()
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkExchange is an exchange of 1 KiB both ways, beside that of net/http.
func BenchmarkExchange(b *testing.B) {
	b.Run("h1", func(b *testing.B) {
		l := newLoader(b)
		b.ReportAllocs()
		for b.Loop() {
			l.exchange(b)
		}
	})
	b.Run("net/http", func(b *testing.B) {
		r := usual()
		s := agent(b, func(c *net.TCPConn) {
			in, out := make([]byte, 64<<10), []byte(usualAnswer())
			for n := 0; ; {
				k, err := c.Read(in[n:])
				if n += k; err != nil {
					return
				}
				if i := bytes.Index(in[:n], []byte("\r\n\r\n")); i > 0 && n == i+4+payload {
					n = 0
					_, _ = c.Write(out)
				}
			}
		})
		t := &http.Transport{DisableCompression: true}
		b.Cleanup(t.CloseIdleConnections)
		body := bytes.NewReader(make([]byte, payload))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = body.Seek(0, io.SeekStart)
			req, err := http.NewRequestWithContext(b.Context(), "POST", "http://"+s+"/v1/messages", body)
			if err != nil {
				b.Fatal(err)
			}
			req.Header = r.Header
			resp, err := t.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(nowhere{}, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
