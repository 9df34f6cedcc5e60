package sse

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/airside-gateway/airside"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type events = iter.Seq2[Event, error]

func same(in events) events { return in }

func keep(e Event) (Event, bool, error) { return e, true, nil }

// upper changes the data of events, drops those that say "drop", and passes
// errors on.
func upper(in events) events {
	return func(yield func(Event, error) bool) {
		for e, err := range in {
			e, keep, _ := upperOne(e)
			if (keep || err != nil) && !yield(e, err) {
				return
			}
		}
	}
}

func upperOne(e Event) (Event, bool, error) {
	if e.Data != nil {
		e.Data = bytes.ToUpper(e.Data)
	}
	return e, string(e.Data) != "DROP", nil
}

// both are the two ways to rewrite a body by upper.
var both = []struct {
	name string
	make func(io.ReadCloser) io.ReadCloser
}{
	{"Body", func(rc io.ReadCloser) io.ReadCloser { return Body(rc, upper) }},
	{"Map", func(rc io.ReadCloser) io.ReadCloser { return Map(rc, 0, upperOne) }},
	{"Body of Map", func(rc io.ReadCloser) io.ReadCloser { return Body(Map(rc, 0, keep), upper) }},
	{"Map of Body", func(rc io.ReadCloser) io.ReadCloser { return Map(Body(rc, upper), 0, keep) }},
	{"Body of Body", func(rc io.ReadCloser) io.ReadCloser { return Body(Body(rc, same), upper) }},
}

// closes is a body that counts how often it is closed.
type closes struct {
	io.Reader
	n int
}

func (c *closes) Close() error { c.n++; return nil }

func TestBody(t *testing.T) {
	const in = ": ping\r\n\r\nx: y\r\ndata: a\r\nid: 1\r\n\r\ndata: drop\n\nretry: 5\n\ndata: b\ndata: c\n\ndata: rest"
	const want = ": ping\r\n\r\nx: y\r\ndata: A\nid: 1\r\n\r\nretry: 5\n\ndata: B\ndata: C\n\n"
	for _, tt := range both {
		for _, size := range []int{1, 7, 64, 4096} {
			src := &closes{Reader: strings.NewReader(in)}
			b := tt.make(src)
			got, err := io.ReadAll(&sized{b, size})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.Close(), b.Close()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("%s by %d (-want +got):\n%s", tt.name, size, diff)
			}
			if src.n != 1 {
				t.Errorf("%s: closed %d times, want once", tt.name, src.n)
			}
			if n, err := b.Read(make([]byte, 1)); n > 0 || !errors.Is(err, errClosed) {
				t.Errorf("%s: read %d, %v after Close", tt.name, n, err)
			}
		}
	}
}

// sized reads at most n bytes at a time.
type sized struct {
	r io.Reader
	n int
}

func (s *sized) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// What is not changed is not touched.
func TestBodyKeepsBytes(t *testing.T) {
	for _, tt := range streams {
		switch tt.name {
		case "byte order mark", "marks", "half a mark", "blank lines", "mixed ends", "two events and a rest", "unfinished", "unfinished line":
			continue // the documented exceptions
		}
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader} {
			got, err := io.ReadAll(Map(io.NopCloser(wrap(strings.NewReader(tt.in))), 0, keep))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.in, string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	}
}

// A source that breaks does so after the whole events before it, and half an
// event is never told.
func TestBodyBrokenSource(t *testing.T) {
	broken := errors.New("broken")
	wrapped := errors.Join(errors.New("connection lost"), io.EOF)
	for _, want := range []error{broken, io.ErrUnexpectedEOF, wrapped} {
		for _, tt := range both {
			src := io.MultiReader(strings.NewReader("data: a\n\ndata: b\n\ndata: c\n"), iotest.ErrReader(want))
			b := tt.make(io.NopCloser(src))
			got, err := io.ReadAll(b)
			if !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, want)
			}
			if diff := cmp.Diff("data: A\n\ndata: B\n\n", string(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestBodyTooLarge(t *testing.T) {
	in := "data: a\n\ndata: " + strings.Repeat("x", DefaultMax) + "\n\n"
	for _, tt := range both {
		b := tt.make(io.NopCloser(strings.NewReader(in)))
		got, err := io.ReadAll(b)
		if e := airside.AsError(err); e.Code != airside.UpstreamFailed || !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if want := "data: A\n\n"; string(got) != want {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An error of what makes the events ends the body, after the events before it.
func TestBodyError(t *testing.T) {
	refused := errors.New("refused")
	in := io.NopCloser(strings.NewReader("data: a\n\ndata: b\n\ndata: c\n\n"))
	b := Map(in, 0, func(e Event) (Event, bool, error) {
		if string(e.Data) == "b" {
			return e, true, refused
		}
		return e, true, nil
	})
	got, err := io.ReadAll(b)
	if want := "data: a\n\n"; string(got) != want || !errors.Is(err, refused) {
		t.Errorf("got %q, %v; want %q, %v", got, err, want, refused)
	}
}

// script is a body of which each Read returns one chunk, and that fails the test
// when more is asked of it than there is.
type script struct {
	t      *testing.T
	chunks []string
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.chunks) == 0 {
		s.t.Error("read on, though an event was complete")
		return 0, io.EOF
	}
	n := copy(p, s.chunks[0])
	s.chunks = s.chunks[1:]
	return n, nil
}

func (s *script) Close() error { return nil }

// An event goes out as soon as it is complete: no Read waits for another one.
func TestBodyDoesNotWait(t *testing.T) {
	for _, tt := range both {
		for _, chunks := range [][]string{
			{"data: a\n\n"}, {"data: a\r\r"}, {"data: a\r\n\r"}, {"da", "ta: a", "\n", "\n"}, {"data: a\n\ndata: b"},
		} {
			b := tt.make(&script{t, chunks})
			p := make([]byte, 100)
			n, err := b.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(p[:n]); !strings.HasPrefix(got, "data: A") {
				t.Errorf("%s: got %q of %q", tt.name, got, chunks)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Map passes on in one Read what came in one.
func TestMapBatches(t *testing.T) {
	b := Map(&script{t, []string{"data: a\n\ndata: b\n\ndata: c\n"}}, 0, keep)
	p := make([]byte, 100)
	n, err := b.Read(p)
	if got, want := string(p[:n]), "data: a\n\ndata: b\n\n"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// Close ends a Read that waits, and stops what makes the events.
func TestBodyCloseWhileReading(t *testing.T) {
	for _, tt := range both {
		synctest.Test(t, func(t *testing.T) {
			r, w := io.Pipe()
			b := tt.make(r)
			ended := make(chan error)
			go func() {
				_, err := b.Read(make([]byte, 10))
				ended <- err
			}()
			synctest.Wait()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s: got %v, want %v", tt.name, err, io.ErrClosedPipe)
			}
			if _, err := w.Write([]byte("x")); err == nil {
				t.Errorf("%s: the source was not closed", tt.name)
			}
		})
	}
}

// Close before the end stops the iterator, wherever it is.
func TestBodyStops(t *testing.T) {
	stopped := 0
	f := func(in events) events {
		return func(yield func(Event, error) bool) {
			defer func() { stopped++ }()
			upper(in)(yield)
		}
	}
	src := &closes{Reader: repeat(stream(1))}
	b := Body(Body(src, f), f)
	if _, err := b.Read(make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if stopped != 2 || src.n != 1 {
		t.Errorf("stopped %d iterators and closed %d sources, want 2 and 1", stopped, src.n)
	}
	if err := Body(src, f).Close(); err != nil { // one that was never read
		t.Fatal(err)
	}
}

// A body that became the source of another cannot be read beside it, and one
// that was read is a source of bytes.
func TestBodyTaken(t *testing.T) {
	inner := Map(io.NopCloser(strings.NewReader("data: a\n\n")), 0, keep)
	outer := Body(inner, upper)
	if _, err := inner.Read(make([]byte, 1)); !errors.Is(err, errTaken) {
		t.Errorf("got %v, want %v", err, errTaken)
	}
	p := make([]byte, 3)
	if _, err := outer.Read(p); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(Map(outer, 0, keep))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(p)+"|"+string(rest), "dat|a: A\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := outer.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStream(t *testing.T) {
	cut := errors.New("cut")
	b := Stream(func(yield func(Event, error) bool) {
		_ = yield(data("a"), nil) && yield(Event{Type: "x", Data: []byte("b")}, nil) && yield(Event{}, cut)
	})
	got, err := io.ReadAll(b)
	if want := "data: a\n\nevent: x\ndata: b\n\n"; string(got) != want || !errors.Is(err, cut) {
		t.Errorf("got %q, %v; want %q, %v", got, err, want, cut)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, e := range []Event{data("a"), {}, {Comment: "ping"}} {
		if err := w.Send(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "data: a\n\n: ping\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMapDoesNotAllocate(t *testing.T) {
	answer := []byte(`{"ok":true}`)
	b := Map(io.NopCloser(repeat(stream(1))), 0, func(e Event) (Event, bool, error) {
		e.Data = answer
		return e, true, nil
	})
	p := make([]byte, 4<<10)
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := b.Read(p); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("got %v allocations a Read, want none", got)
	}
}

func BenchmarkBody(b *testing.B) {
	for _, tt := range []struct {
		name string
		make func(io.ReadCloser) io.ReadCloser
	}{
		{"Map", func(rc io.ReadCloser) io.ReadCloser { return Map(rc, 0, keep) }},
		{"Body", func(rc io.ReadCloser) io.ReadCloser { return Body(rc, same) }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			in := stream(1000)
			body := tt.make(io.NopCloser(repeat(in)))
			defer func() { _ = body.Close() }()
			p := make([]byte, 32<<10)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				for n := 0; n < len(in); {
					m, err := body.Read(p)
					if err != nil {
						b.Fatal(err)
					}
					n += m
				}
			}
		})
	}
}
