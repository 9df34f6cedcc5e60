package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzAnswer proves that whatever an agent says, the client comes to an end, and that
// what it takes for an answer is one for net/http too, with the same meaning.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2;x=\"y\"\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close, x\r\nX: 1\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, said []byte, head bool) {
		if len(said) > 64<<10 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		var first string
		for i, slow := range []bool{false, true} {
			got := whatCame(t, method, said, slow)
			if i == 0 {
				first = got
			} else if got != first {
				t.Errorf("in one piece: %s\nbyte by byte: %s", first, got)
			}
		}
	})
}

// whatCame is what the client makes of what an agent said, in words, after comparing it
// with what net/http makes of it.
func whatCame(t *testing.T, method string, said []byte, slow bool) string {
	c := New(Settings{
		MaxIdle: 1, MaxHead: 32 << 10, Go: func(f func()) { f() },
		Dial: func(context.Context) (net.Conn, error) { return &script{said: said, slow: slow}, nil },
	})
	defer c.Close()
	a := &Answer{}
	if err := c.Do(t.Context(), &Trip{}, request(method), a); err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind == Dial || e.Kind == Body || e.Kind == Cut || e.Kind == Canceled {
			t.Errorf("got error %#v", err)
		}
		return "no answer"
	}
	resp := reference(t, method, said)
	body, err := io.ReadAll(a.Body)
	want, werr := io.ReadAll(resp.Body)
	if string(body) != string(want) && err == nil || (err == nil) && werr != nil {
		t.Errorf("got %q, %v, want %q, %v", body, err, want, werr)
	}
	if a.StatusCode != resp.StatusCode || a.ContentLength != resp.ContentLength || a.ProtoMinor != resp.ProtoMinor {
		t.Errorf("got %d, length %d, HTTP/1.%d, want %d, %d, %d", a.StatusCode, a.ContentLength, a.ProtoMinor, resp.StatusCode, resp.ContentLength, resp.ProtoMinor)
	}
	if diff := cmp.Diff(plainHeader(resp.Header), plainHeader(a.Header)); diff != "" {
		t.Errorf("header (-want +got)\n%s", diff)
	}
	out := fmt.Sprintf("%d %v %q %v", a.StatusCode, a.Header, body, err)
	_ = a.Body.Close()
	return out
}

// reference is the answer as net/http reads it.
func reference(t *testing.T, method string, said []byte) *http.Response {
	b := bufio.NewReader(strings.NewReader(string(said)))
	for {
		resp, err := http.ReadResponse(b, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http does not take it: %v", err)
		}
		if resp.StatusCode >= 200 {
			return resp
		}
	}
}

// plainHeader is without what net/http takes out or puts in.
func plainHeader(h http.Header) http.Header {
	out := maps.Clone(h)
	if out == nil {
		out = http.Header{}
	}
	if _, ok := h["Pragma"]; ok {
		delete(out, "Cache-Control")
	}
	delete(out, "Trailer")
	delete(out, "Connection")
	delete(out, "Host") // the last of empty ones
	return out
}

// A script is a connection on which everything was said beforehand.
type script struct {
	said []byte
	slow bool
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.said) == 0 {
		return 0, io.EOF
	}
	n := len(p)
	if s.slow {
		n = 1
	}
	n = copy(p[:n], s.said)
	s.said = s.said[n:]
	return n, nil
}

func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
