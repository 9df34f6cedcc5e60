package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFraming is the table of how the end of an answer is found, RFC 9112 section 6.3.
// The agent closes the connection after what it says, so that everything that is not
// complete by then ends in an error.
func TestFraming(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	tests := []struct {
		name, method, answer string
		status               int
		length               int64
		body                 string
		cut                  bool // the body is not complete
		kind                 Kind // there is no answer
	}{
		{"length", "GET", ok + "Content-Length: 5\r\n\r\nhello", 200, 5, "hello", false, 0},
		{"length 0", "GET", ok + "Content-Length: 0\r\n\r\n", 200, 0, "", false, 0},
		{"more than the length", "GET", ok + "Content-Length: 2\r\n\r\nhello", 200, 2, "he", false, 0},
		{"less than the length", "GET", ok + "Content-Length: 9\r\n\r\nhello", 200, 9, "hello", true, 0},
		{"nothing of the length", "GET", ok + "Content-Length: 9\r\n\r\n", 200, 9, "", true, 0},
		{"chunked", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, -1, "hello", false, 0},
		{"chunked, trailers", "GET", ok + "Transfer-Encoding: Chunked\r\n\r\n0\r\nA: b\r\n\r\n", 200, -1, "", false, 0},
		{"half a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nhello", 200, -1, "hello", true, 0},
		{"half a size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0", 200, -1, "hello", true, 0},
		{"no end of the trailers", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n", 200, -1, "hello", true, 0},
		{"bad size", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", 200, -1, "hello", true, 0},
		{"bad end of a chunk", "GET", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhellox\r\n", 200, -1, "hello", true, 0},
		{"until close", "GET", ok + "\r\nhello", 200, -1, "hello", false, 0},
		{"until close, nothing", "GET", ok + "\r\n", 200, -1, "", false, 0},
		{"until close, 1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", 200, -1, "hello", false, 0},
		{"1.0 with a length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200, 9, "hello", true, 0},
		{"HEAD", "HEAD", ok + "Content-Length: 5\r\n\r\n", 200, 5, "", false, 0},
		{"HEAD, chunked", "HEAD", ok + "Transfer-Encoding: chunked\r\n\r\n", 200, -1, "", false, 0},
		{"HEAD, no length", "HEAD", ok + "\r\n", 200, -1, "", false, 0},
		{"204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, 0, "", false, 0},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, 0, "", false, 0},
		{"no reason", "GET", "HTTP/1.1 299\r\nContent-Length: 1\r\n\r\na", 299, 1, "a", false, 0},
		{"100 before", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na", 200, 1, "a", false, 0},
		{"both lengths", "GET", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 0, 0, "", false, Malformed},
		{"two lengths", "GET", ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 0, 0, "", false, Malformed},
		{"chunked in 1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 0, "", false, Malformed},
		{"gzip, chunked", "GET", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 0, "", false, Malformed},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 0, 0, "", false, Malformed},
		{"space before the colon", "GET", ok + "Content-Length : 0\r\n\r\n", 0, 0, "", false, Malformed},
		{"HTTP/2", "GET", "HTTP/2.0 200 OK\r\n\r\n", 0, 0, "", false, Malformed},
		{"not HTTP", "GET", "220 smtp.example.com ESMTP", 0, 0, "", false, Malformed},
		{"half a head", "GET", "HTTP/1.1 200 O", 0, 0, "", false, Broke},
		{"nothing", "GET", "", 0, 0, "", false, Broke},
		{"only 100", "GET", "HTTP/1.1 100 Continue\r\n\r\n", 0, 0, "", false, Broke},
		{"large head", "GET", ok + strings.Repeat("A: "+strings.Repeat("b", 4000)+"\r\n", 70), 0, 0, "", false, TooLarge},
		{"unasked", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0, 0, "", false, Unasked},
		{"interim answers without end", "GET", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxInterim+1) + ok + "\r\n", 0, 0, "", false, Malformed},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			for _, pieces := range [][]string{{tt.answer}, strings.Split(tt.answer, "")} {
				if len(pieces) > 300 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d", tt.name, len(pieces)), func(t *testing.T) {
					a, body, err := ask(t, open(t, agent(t, says(pieces...)), wrap), request(tt.method))
					if tt.status == 0 {
						if e := wantKind(t, err, tt.kind); !e.Sent {
							t.Error("the error says that nothing was sent")
						}
						return
					}
					if tt.cut {
						if e := wantKind(t, err, Cut); errors.Is(e, io.EOF) {
							t.Errorf("%v is io.EOF", e)
						}
					} else if err != nil {
						t.Fatal(err)
					}
					if a.StatusCode != tt.status || a.ContentLength != tt.length || body != tt.body {
						t.Errorf("got %d, length %d, %q, want %d, %d, %q", a.StatusCode, a.ContentLength, body, tt.status, tt.length, tt.body)
					}
				})
			}
		}
	})
}

// TestRelay proves that WriteTo passes everything on as Read does, and that what the
// writer says is told from what the agent does.
func TestRelay(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 64<<10)
	tests := []struct {
		name, answer, want string
		cut                bool
	}{
		{"length", "Content-Length: 5\r\n\r\nhello", "hello", false},
		{"short", "Content-Length: 9\r\n\r\nhello", "hello", true},
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", false},
		{"no last chunk", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", true},
		{"until close", "\r\nhello", "hello", false},
		{"large", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(large), large), large, false},
		{"large chunk", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large), large, false},
		{"large until close", "\r\n" + large, large, false},
	}
	eachWay(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := open(t, agent(t, says("HTTP/1.1 200 OK\r\n"+tt.answer)), wrap)
				a := &Answer{}
				if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
					t.Fatal(err)
				}
				w := &counting{}
				a.Watch(w)
				var b bytes.Buffer
				n, err := a.Body.(io.WriterTo).WriteTo(struct{ io.Writer }{&b})
				if tt.cut {
					wantKind(t, err, Cut)
				} else if err != nil {
					t.Error(err)
				}
				if int(n) != b.Len() || b.String() != tt.want {
					t.Errorf("got %d, %d bytes, want %d", n, b.Len(), len(tt.want))
				}
				if w.waits != w.heards {
					t.Errorf("the watch was told %d times that the agent is awaited, and %d times that it was heard", w.waits, w.heards)
				}
				if err := a.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		t.Run("the writer fails", func(t *testing.T) {
			c := open(t, agent(t, says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")), wrap)
			a := &Answer{}
			if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Body.(io.WriterTo).WriteTo(failing{}); err != io.ErrClosedPipe {
				t.Errorf("got %v, want that of the writer", err)
			}
			_ = a.Body.Close()
		})
	})
}

type counting struct{ waits, heards int }

func (c *counting) Waits() { c.waits++ }
func (c *counting) Heard() { c.heards++ }

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestHead proves that the head is as net/http gives it.
func TestHead(t *testing.T) {
	const answer = "HTTP/1.1 404 Nothing here\r\ncontent-TYPE: text/plain\r\nX-A: 1\r\nx-a:  2 \r\nHost: me\r\nTrailer: X-Sum, x-late\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0\r\nX-Sum: 42\r\nContent-Length: 9\r\nX-New: 1\r\n\r\n"
	a, _, err := ask(t, open(t, agent(t, says(answer)), ways[0].wrap), request("GET"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != "404 Nothing here" || a.Proto != "HTTP/1.1" || a.ProtoMajor != 1 || a.ProtoMinor != 1 || a.TransferEncoding != nil || a.Uncompressed {
		t.Errorf("got %+v", a.Response)
	}
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/plain"}, "X-A": {"1", "2"}, "Host": {"me"}}, a.Header); diff != "" {
		t.Errorf("header (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"42"}, "X-Late": nil, "X-New": {"1"}}, a.Trailer); diff != "" {
		t.Errorf("trailer (-want +got)\n%s", diff)
	}
}

// TestPoison proves that a header kept beyond Recycle shows it, and one beyond Close
// does not.
func TestPoison(t *testing.T) {
	c := open(t, agent(t, says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-A: 1\r\n\r\na")), ways[0].wrap)
	a := &Answer{}
	if err := c.Do(t.Context(), &Trip{}, request("GET"), a); err != nil {
		t.Fatal(err)
	}
	kept, values := a.Header, a.Header["X-A"]
	_ = a.Body.Close()
	if a.Header.Get("X-A") != "1" {
		t.Errorf("after Close the header is %v", a.Header)
	}
	a.Recycle()
	if kept.Get("X-A") != "" || kept.Get(poison) != poison || values[0] != poison || a.Header != nil {
		t.Errorf("got %v, %v, %v, want them spoilt", kept, values, a.Header)
	}
}

// TestInform proves that interim answers are passed on, and can be refused.
func TestInform(t *testing.T) {
	c := open(t, agent(t, says("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")), ways[0].wrap)
	r := request("GET")
	var got []string
	r.Inform = func(status int, h http.Header) error {
		got = append(got, fmt.Sprint(status, h))
		return nil
	}
	if _, _, err := ask(t, c, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"103 map[Link:[a]]", "102 map[]"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	r.Inform = func(int, http.Header) error { return io.ErrNoProgress }
	_, _, err := ask(t, c, r)
	if e := wantKind(t, err, Refused); e.Err != io.ErrNoProgress {
		t.Errorf("got %v, want that of Inform", e.Err)
	}
}
