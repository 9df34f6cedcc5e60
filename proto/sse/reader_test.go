package sse

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// read returns clones of all the events of r, and its error unless that is EOF.
func read(r io.Reader, max int) ([]Event, error) {
	var all []Event
	for e, err := range NewReader(r, max).All() {
		if err != nil {
			return all, err
		}
		all = append(all, e.Clone())
	}
	return all, nil
}

func data(s string) Event { return Event{Data: []byte(s)} }

// streams are from WHATWG HTML, section 9.2.6, and from what has been met.
var streams = []struct {
	name, in string
	want     []Event
}{
	{"nothing", "", nil},
	{"multi-line", "data: YHOO\ndata: +2\ndata: 10\n\n", []Event{data("YHOO\n+2\n10")}},
	{"four blocks", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []Event{
		{Comment: "test stream"},
		{ID: "1", HasID: true, Data: []byte("first event")},
		{HasID: true, Data: []byte("second event")},
		data(" third event"),
	}},
	{"two events and a rest", "data\n\ndata\ndata\n\ndata:", []Event{data(""), data("\n")}},
	{"identical", "data:test\n\ndata: test\n\n", []Event{data("test"), data("test")}},
	{"crlf", "data: a\r\nevent: b\r\n\r\ndata: c\r\n\r\n", []Event{{Type: "b", Data: []byte("a")}, data("c")}},
	{"cr", "data: a\revent: b\r\rdata: c\r\r", []Event{{Type: "b", Data: []byte("a")}, data("c")}},
	{"mixed ends", "data: a\r\n\ndata: b\n\rdata: c\r\r\ndata: d\n\r\n", []Event{data("a"), data("b"), data("c"), data("d")}},
	{"blank lines", "\n\n\r\n\rdata: a\n\n\n\n\r\n\ndata: b\n\n", []Event{data("a"), data("b")}},
	{"byte order mark", "\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n", []Event{data("a")}},
	{"marks", "\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\ndata: c\n\xEF\xBB\xBFid: 1\n\n", []Event{data("c")}},
	{"half a mark", "\xEF\xBBdata: a\n\ndata: b\n\n", []Event{{}, data("b")}},
	{"last wins", "event: a\nevent: b\nid: 1\nid: 2\nretry: 1\nretry: 2\n\n", []Event{{Type: "b", ID: "2", HasID: true, Retry: "2"}}},
	{"ignored", "Data: a\n data: b\nid: a\x00b\nretry: 1s\nretry:\nretry: -1\n\n", []Event{{}}},
	{"colons", "data: a: b\ndata::\n:\n::\n\n", []Event{{Data: []byte("a: b\n:"), Comment: "\n:"}}},
	{"not UTF-8", "data: \xff\xfe\n\n", []Event{data("\xff\xfe")}},
	{"unfinished", "data: a\n\ndata: b\nid: 3\n", []Event{data("a")}},
	{"unfinished line", "data: a\n\ndata: b", []Event{data("a")}},
	{"chat", "event: delta\ndata: {\"a\":1}\n\ndata: [DONE]\n\n", []Event{{Type: "delta", Data: []byte(`{"a":1}`)}, data("[DONE]")}},
}

func TestReader(t *testing.T) {
	for _, tt := range streams {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(strings.NewReader(tt.in), 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The border between two chunks may lie anywhere.
func TestReaderChunks(t *testing.T) {
	for _, tt := range streams {
		for i := range len(tt.in) {
			r := io.MultiReader(strings.NewReader(tt.in[:i]), strings.NewReader(tt.in[i:]))
			got, err := read(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s, cut at %d (-want +got):\n%s", tt.name, i, diff)
			}
		}
		got, err := read(iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(tt.in))), 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s, byte by byte (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestReadSkipsWhatNoClientSees(t *testing.T) {
	var got []string
	for e, err := range Read(strings.NewReader(": ping\n\ndata: a\n\nid: 4\n\nretry: 1\n\ndata:\n\n")) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Data))
	}
	if diff := cmp.Diff([]string{"a", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRest(t *testing.T) {
	r := NewReader(strings.NewReader("data: a\r\n\r\ndata: [DONE]\r\n"), 0)
	for _, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := string(r.Rest()), "data: [DONE]\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The bound is that of all the lines of an event, and no other event's.
func TestReaderBound(t *testing.T) {
	const max = 1000
	whole := "data: " + strings.Repeat("x", max-8) + "\n\n" // blank line and all: max
	tests := []struct {
		name, in string
		events   int
		err      error
	}{
		{"at the bound", whole + whole, 2, nil},
		{"beyond", whole + "x" + whole, 1, ErrTooLarge},
		{"many lines", whole + strings.Repeat("data: x\n", max/8) + "\n", 1, ErrTooLarge},
		{"a line without end", whole + strings.Repeat("x", 2*max), 1, ErrTooLarge},
		{"blank lines", strings.Repeat("\n", 3*max) + whole, 1, nil},
		{"bare returns", strings.Repeat("\r", 3*max) + whole, 1, nil},
	}
	for _, tt := range tests {
		for _, chunk := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader} {
			got, err := read(chunk(strings.NewReader(tt.in)), max)
			if len(got) != tt.events || err != tt.err {
				t.Errorf("%s: got %d events and %v, want %d and %v", tt.name, len(got), err, tt.events, tt.err)
			}
		}
	}
}

// After an error a reader says the same again, and reads no more.
func TestReaderErrorLasts(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		src  io.Reader
		want error
	}{
		{"end", strings.NewReader("data: a\n\ndata: b"), io.EOF},
		{"broken", io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken)), broken},
		{"too large", strings.NewReader("data: a\n\ndata: " + strings.Repeat("x", 90) + "\n\ndata: c\n\n"), ErrTooLarge},
		{"no progress", io.MultiReader(strings.NewReader("data: a\n\n"), idle{}), io.ErrNoProgress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(tt.src, 64)
			if e, err := r.Next(); err != nil || string(e.Data) != "a" {
				t.Fatalf("got %q, %v", e.Data, err)
			}
			for range 3 {
				if _, err := r.Next(); err != tt.want {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			}
		})
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// A large event does not make a stream hold much for ever.
func TestReaderLetsGo(t *testing.T) {
	in := "data: " + strings.Repeat("x", 500<<10) + "\ndata: y\n\n"
	small := strings.Repeat("data: x\n\n", 10)
	r := NewReader(io.MultiReader(strings.NewReader(in), strings.NewReader(small)), 0)
	for _, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.buf) + cap(r.data.buf); got > keepBuffer {
		t.Errorf("holds %d bytes, want at most %d", got, keepBuffer)
	}
}

// Many lines of one kind cost no more than their bytes.
func TestReaderManyLines(t *testing.T) {
	for _, line := range []string{":\n", "data\n", "id: 1\n", "x\n"} {
		in := strings.Repeat(line, DefaultMax/len(line)-1) + "\n"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := NewReader(strings.NewReader(in), 0).Next(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(16*DefaultMax); got > limit {
			t.Errorf("%q: allocated %d bytes, want at most %d", line, got, limit)
		}
	}
}

// stream returns the events of a chat answer, n of them.
func stream(n int) []byte {
	return bytes.Repeat([]byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" of the\"}}\n\n"), n)
}

func TestReaderDoesNotAllocate(t *testing.T) {
	r := NewReader(repeat(stream(1)), 0)
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("got %v allocations an event, want none", got)
	}
}

// repeat is a reader of b for ever.
func repeat(b []byte) io.Reader { return &repeated{b: b} }

type repeated struct {
	b   []byte
	off int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.off:])
	r.off = (r.off + n) % len(r.b)
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	one := stream(1)
	r := NewReader(repeat(stream(100)), 0)
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
