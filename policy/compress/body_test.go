package compress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/airside-gateway/airside"
)

var (
	gz          = headers("Accept-Encoding: gzip")
	html        = headers("Content-Type: text/html")
	eventStream = headers("Content-Type: text/event-stream")
)

// packedBody is the compressed body of an answer to a client.
func packedBody(t testing.TB, m airside.Middleware, x *airside.Exchange, h http.Header, length int64, src io.ReadCloser) io.ReadCloser {
	t.Helper()
	resp, err := m(respond(200, h, length, src)).Handle(x)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("the answer was not compressed")
	}
	return resp.Body
}

// script gives one chunk a Read, and fails the test when more is asked of it than
// there is.
type script struct {
	t      *testing.T
	chunks []string
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.chunks) == 0 {
		s.t.Error("read on before what had come was passed on")
		return 0, io.EOF
	}
	n := copy(p, s.chunks[0])
	s.chunks = s.chunks[1:]
	return n, nil
}

// TestNothingIsDelayed proves that what the agent has sent can be read before it
// sends more.
func TestNothingIsDelayed(t *testing.T) {
	src := &script{t: t}
	b := packedBody(t, build(t, func(c *Config) { c.Events = true }), exchange("GET", gz), eventStream, -1, io.NopCloser(src))
	var seen bytes.Buffer
	z := &gzip.Reader{}
	sent := ""
	for _, chunk := range []string{"data: 1\n\n", "d", "ata: 2\n\n", strings.Repeat("x", readSize), "y"} {
		src.chunks = []string{chunk}
		sent += chunk
		p := make([]byte, 2*readSize)
		n, err := b.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(p[:n])
		if err := z.Reset(bytes.NewReader(seen.Bytes())); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		if string(got) != sent || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes arrived of %d: %v", len(got), len(sent), err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenSource proves that half an answer never looks whole.
func TestBrokenSource(t *testing.T) {
	broken := errors.New("broken")
	half := strings.Repeat("half an answer ", 200)
	tests := []struct {
		name   string
		src    io.Reader
		length int64
		want   string
	}{
		{"broken", io.MultiReader(strings.NewReader(half), iotest.ErrReader(broken)), -1, "broken"},
		{"broken with data", iotest.DataErrReader(io.MultiReader(strings.NewReader(half), iotest.ErrReader(broken))), -1, "broken"},
		{"a wrapped end", io.MultiReader(strings.NewReader(half), iotest.ErrReader(errors.Join(broken, io.EOF))), -1, "broken\nEOF"},
		{"too short", strings.NewReader(half), 9999, "upstream_failed: the agent's answer broke off: unexpected EOF"},
		{"too long", strings.NewReader(half), 2000, "upstream_failed: the agent's answer broke off: unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := packedBody(t, build(t, nil), exchange("GET", gz), html, tt.length, io.NopCloser(tt.src))
			got, err := io.ReadAll(b)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			z, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if string(plain) != half || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d bytes arrived of %d: %v", len(plain), len(half), err)
			}
			if _, err := b.Read(make([]byte, 1)); err == nil || err.Error() != tt.want {
				t.Errorf("then got %v, want %s", err, tt.want)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	b := packedBody(t, build(t, nil), exchange("GET", gz), html, -1, io.NopCloser(iotest.ErrReader(broken)))
	if got, err := io.ReadAll(b); len(got) > 0 || !errors.Is(err, broken) {
		t.Errorf("broken at once: got %q, %v", got, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// words is a protocol that ends streams by an event.
type words struct{ airside.Protocol }

func (words) FailStream(_ *airside.Exchange, e *airside.Error) []byte {
	if e.Code == airside.Timeout {
		return nil
	}
	return []byte("event: error\ndata: " + string(e.Code) + "\n\n")
}

// TestFailStream proves that the words for a stream that broke are compressed like
// the rest, and end it; and that other answers have none.
func TestFailStream(t *testing.T) {
	m := build(t, func(c *Config) { c.Events = true })
	failed := airside.Errorf(airside.UpstreamFailed, "x")
	tests := []struct {
		name string
		h    http.Header
		err  *airside.Error
		want string
	}{
		{"events", eventStream, failed, "data: 1\n\nevent: error\ndata: upstream_failed\n\n"},
		{"no words", eventStream, airside.Errorf(airside.Timeout, "x"), ""},
		{"html", html, failed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := exchange("GET", gz)
			x.Protocol = words{}
			src := io.MultiReader(strings.NewReader("data: 1\n\n"), iotest.ErrReader(tt.err))
			b := packedBody(t, m, x, tt.h, -1, io.NopCloser(src))
			got, err := io.ReadAll(b)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			end := x.Protocol.FailStream(x, tt.err)
			if tt.want == "" && end != nil {
				t.Fatalf("got %q, want no words", end)
			}
			if tt.want != "" {
				if plain := unzip(t, append(got, end...)); plain != tt.want {
					t.Errorf("got %q, want %q", plain, tt.want)
				}
				if _, err := b.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("after the end got %v", err)
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if end := x.Protocol.FailStream(x, failed); end != nil {
				t.Errorf("after Close: got %q, want no words", end)
			}
		})
	}
}

// TestAnotherTry proves that an answer that was given up leaves nothing behind.
func TestAnotherTry(t *testing.T) {
	m := build(t, func(c *Config) { c.Events = true })
	x := exchange("GET", gz)
	x.Protocol = words{}
	if err := packedBody(t, m, x, eventStream, -1, io.NopCloser(strings.NewReader("data: 1\n\n"))).Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := m(respond(200, headers("Content-Type: image/png"), -1, io.NopCloser(strings.NewReader("x")))).Handle(x)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Protocol.(words); !ok {
		t.Errorf("the protocol is %T", x.Protocol)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestConcurrent proves that no more answers are compressed than may be, and that
// each way to end one makes room for another.
func TestConcurrent(t *testing.T) {
	m := build(t, func(c *Config) { c.Concurrent = 2 })
	open := func(src io.Reader) (io.ReadCloser, bool) {
		resp, err := m(respond(200, html, -1, io.NopCloser(src))).Handle(exchange("GET", gz))
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Vary") != "Accept-Encoding" {
			t.Error("without Vary")
		}
		return resp.Body, resp.Header.Get("Content-Encoding") == "gzip"
	}
	ends := []struct {
		name string
		end  func(io.ReadCloser) error
	}{
		{"read", func(b io.ReadCloser) error { _, err := io.Copy(io.Discard, b); return err }},
		{"closed", func(b io.ReadCloser) error { return b.Close() }},
		{"read and closed twice", func(b io.ReadCloser) error {
			_, err := io.Copy(io.Discard, b)
			return errors.Join(err, b.Close(), b.Close())
		}},
		{"read in part", func(b io.ReadCloser) error { _, err := b.Read(make([]byte, 1)); return errors.Join(err, b.Close()) }},
	}
	first, ok := open(strings.NewReader("x"))
	if !ok {
		t.Fatal("the first was not compressed")
	}
	for _, tt := range ends {
		for range 3 {
			second, ok := open(strings.NewReader("hello"))
			third, more := open(strings.NewReader("hello"))
			if !ok || more {
				t.Errorf("%s: compressed %v and %v, want the second but not the third", tt.name, ok, more)
			}
			if err := errors.Join(tt.end(second), third.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWhileReading proves that Close ends a Read that waits, and that the
// packer goes back once, and not under it.
func TestCloseWhileReading(t *testing.T) {
	m := build(t, func(c *Config) { c.Concurrent = 1 })
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			b := packedBody(t, m, exchange("GET", gz), html, -1, r)
			ended := make(chan error)
			go func() {
				_, err := io.Copy(io.Discard, b)
				ended <- err
			}()
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if err := errors.Join(b.Close(), b.Close()); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, errClosed) {
				t.Errorf("got %v", err)
			}
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, errClosed) {
				t.Errorf("after Close got %v, want %v", err, errClosed)
			}
		})
	}
}

// Whatever comes, and in whatever pieces, arrives.
func FuzzBody(f *testing.F) {
	f.Add([]byte("hello"), uint8(1), uint16(3))
	f.Add(bytes.Repeat([]byte("all work "), 9000), uint8(9), uint16(100))
	f.Fuzz(func(t *testing.T, in []byte, level uint8, size uint16) {
		m := build(t, func(c *Config) { c.Level, c.MinSize = int(level%9)+1, 0 })
		h := m(respond(200, html, int64(len(in)), io.NopCloser(iotest.HalfReader(bytes.NewReader(in)))))
		for range 2 { // the second time the packer is used again
			resp, err := h.Handle(exchange("GET", gz))
			if err != nil || len(in) == 0 {
				return
			}
			got, err := io.ReadAll(&sized{resp.Body, int(size) + 1})
			if err != nil {
				t.Fatal(err)
			}
			if unzip(t, got) != string(in) {
				t.Error("what arrived is not what was sent")
			}
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			h = m(respond(200, html, int64(len(in)), io.NopCloser(bytes.NewReader(in))))
		}
	})
}

// sized reads at most n bytes at a time.
type sized struct {
	r io.Reader
	n int
}

func (s *sized) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func BenchmarkBody(b *testing.B) {
	m := build(b, nil)
	in := strings.Repeat(`{"id":1234,"name":"a patient","notes":["seen on Monday","to return"]},`, 1000)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		body := packedBody(b, m, exchange("GET", gz), html, int64(len(in)), io.NopCloser(strings.NewReader(in)))
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
		if err := body.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
