package http1

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A fed is what came of a chunked body.
type fed struct {
	data    string
	trailer http.Header
	used    int // bytes taken off, framing included
	done    bool
	err     error
}

// feed gives b to Chunks in pieces that end at the given offsets, and at the end. It
// keeps what was not taken, as a buffer does.
func feed(b []byte, cuts ...int) fed {
	var c Chunks
	var f fed
	b = slices.Clone(b) // names are changed
	from := 0
	var data bytes.Buffer
	for _, to := range append(slices.Clone(cuts), len(b)) {
		for !c.Done && f.err == nil {
			d, n, err := c.Next(b[from:to])
			data.Write(d)
			from += n
			f.err = err
			if n == 0 {
				break
			}
		}
	}
	f.data, f.trailer, f.used, f.done = data.String(), c.Trailer, from, c.Done
	if f.err != nil {
		f.used = 0 // it says how far it was right, which depends on the pieces
	}
	return f
}

// every is all offsets up to n.
func every(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

var bodies = []struct {
	name, text, data string
	trailer          http.Header
}{
	{name: "empty", text: "0\r\n\r\n"},
	{name: "more zeros", text: "000\r\n\r\n"},
	{name: "one", text: "5\r\nhello\r\n0\r\n\r\n", data: "hello"},
	{name: "two, with what looks like framing", text: "4\r\n\r\n0\r\r\n3\r\n\n\r\n\r\n0\r\n\r\n", data: "\r\n0\r\n\r\n"},
	{
		name: "hexadecimal digits",
		text: "00000000000000a\r\n0123456789\r\nA\r\n0123456789\r\n1f\r\n" + strings.Repeat("x", 31) + "\r\n1F\r\n" + strings.Repeat("y", 31) + "\r\n0\r\n\r\n",
		data: "01234567890123456789" + strings.Repeat("x", 31) + strings.Repeat("y", 31),
	},
	{name: "extensions", text: "1;a\r\nx\r\n1;a;b=c;d=\"e;\\\"\\\\ \t\x80\";f\r\ny\r\n0;g=!#\r\n\r\n", data: "xy"},
	{name: "an empty quoted string", text: "1;a=\"\"\r\nx\r\n0\r\n\r\n", data: "x"},
	{name: "the longest line", text: "1;" + strings.Repeat("a", maxSizeLine-4) + "\r\nx\r\n0\r\n\r\n", data: "x"},
	{
		name: "trailers", text: "1\r\nx\r\n0\r\nx-a: 1\r\nETAG:\t\"2\" \r\nX-A: 3\r\nEmpty:\r\n\r\n", data: "x",
		trailer: http.Header{"X-A": {"1", "3"}, "Etag": {"\"2\""}, "Empty": {""}},
	},
	{
		name: "most trailers", text: "0\r\n" + strings.Repeat("A: b\r\n", MaxFields) + "\r\n",
		trailer: http.Header{"A": slices.Repeat([]string{"b"}, MaxFields)},
	},
}

func TestChunks(t *testing.T) {
	for _, c := range bodies {
		t.Run(c.name, func(t *testing.T) {
			got := feed([]byte(c.text + "GET / HTTP/1.1\r\n\r\n"))
			want := fed{data: c.data, trailer: c.trailer, used: len(c.text), done: true}
			if d := cmp.Diff(got, want, cmp.AllowUnexported(fed{})); d != "" {
				t.Errorf("%q: got (-), want (+)\n%s", c.text, d)
			}
		})
	}
}

// However the bytes come, data, trailers, the end and the errors are the same.
func TestChunksSplit(t *testing.T) {
	var texts []string
	for _, c := range bodies {
		texts = append(texts, c.text, c.text+"0\r\n\r\n")
	}
	for _, c := range refusals {
		if c.kind == aBody {
			texts = append(texts, c.text)
		}
	}
	for _, text := range texts {
		want := feed([]byte(text))
		same := func(cuts ...int) {
			t.Helper()
			got := feed([]byte(text), cuts...)
			if want.err == nil && !cmp.Equal(got.trailer, want.trailer) || got.data != want.data ||
				got.used != want.used || got.done != want.done || got.err != want.err {
				t.Errorf("%.80q cut at %.40v: got %+.80v, want %+.80v", text, cuts, got, want)
			}
		}
		same(every(len(text))...)
		step := 1 + len(text)/400 // some of the long ones
		for i := 0; i <= len(text); i += step {
			same(i)
		}
	}
}

// Before the end nothing is done, and nothing is wrong.
func TestChunksIncomplete(t *testing.T) {
	for _, c := range bodies {
		for i := range min(len(c.text), 600) {
			got := feed([]byte(c.text[:i]))
			if got.done || got.err != nil || !strings.HasPrefix(c.data, got.data) {
				t.Errorf("%q: got %+v, want to wait", c.text[:i], got)
			}
		}
	}
}

// What a reader has no room for is given back, and comes again.
func TestChunksUnread(t *testing.T) {
	b := []byte("6\r\nsecret\r\n5;a\r\nagain\r\n0\r\n\r\n")
	for room := 1; room < 8; room++ {
		var c Chunks
		got := ""
		for rest := b; !c.Done; {
			data, n, err := c.Next(rest)
			if err != nil || n == 0 {
				t.Fatalf("room %d after %q: got %d bytes, error %v", room, got, n, err)
			}
			back := max(0, len(data)-room)
			c.Unread(back)
			got += string(data[:len(data)-back])
			rest = rest[n-back:]
		}
		if got != "secretagain" {
			t.Errorf("room %d: got %q", room, got)
		}
	}
}

// With Discard, what may not be a trailer is left out, in whatever pieces it comes; what
// is malformed is refused all the same, and what is too much.
func TestChunksDiscard(t *testing.T) {
	text := []byte("0\r\nA: 1\r\nHost: b\r\ncontent-length: 3\r\nConnection: a\r\nTE: x\r\nB: 2\r\nTrailer: c\r\n\r\n")
	for i := range text {
		c := Chunks{Discard: true}
		b := bytes.Clone(text)
		_, n, err := c.Next(b[:i])
		if err == nil && !c.Done {
			_, _, err = c.Next(b[n:])
		}
		if d := cmp.Diff(c.Trailer, http.Header{"A": {"1"}, "B": {"2"}}); d != "" || err != nil || !c.Done {
			t.Errorf("cut at %d: done %t, error %v, got (-), want (+)\n%s", i, c.Done, err, d)
		}
	}
	for _, r := range []struct {
		text string
		want error
	}{
		{"0\r\nHost : b\r\n\r\n", ErrTrailer},
		{"0\r\nHost: \x00\r\n\r\n", ErrTrailer},
		{"0\r\n" + strings.Repeat("Host: b\r\n", MaxTrailers/9+1) + "\r\n", ErrLarge},
	} {
		c := Chunks{Discard: true}
		if _, _, err := c.Next([]byte(r.text)); err != r.want || c.Done {
			t.Errorf("%.40q: got done %t, error %v, want %v", r.text, c.Done, err, r.want)
		}
	}
}

// Once done, nothing more is taken.
func TestChunksDone(t *testing.T) {
	var c Chunks
	if _, n, err := c.Next([]byte("0\r\n\r\n")); n != 5 || err != nil || !c.Done {
		t.Fatal(n, err, c.Done)
	}
	if data, n, err := c.Next([]byte("1\r\nx\r\n")); n != 0 || len(data) != 0 || err != nil {
		t.Errorf("got %q, %d, %v, want nothing", data, n, err)
	}
}

// The largest size that is taken is passed on as it comes, without overflow.
func TestLargestChunk(t *testing.T) {
	var c Chunks
	data, n, err := c.Next([]byte("fffffffffffffff\r\nabc"))
	if string(data) != "abc" || n != 20 || err != nil || c.left != 1<<60-4 {
		t.Errorf("got %q, %d, %v, %d left", data, n, err, c.left)
	}
}

// One byte a chunk is what a stream may send for ever; extensions on each are not,
// unless the data excuses them.
func TestOverhead(t *testing.T) {
	const chunks = maxExtra
	extension := ";" + strings.Repeat("a", 60)
	for _, c := range []struct {
		name, chunk string
		want        error
	}{
		{"bytes", "1\r\nx\r\n", nil},
		{"short extensions", "1;abcdefghij\r\nx\r\n", nil},
		{"extensions and data", fmt.Sprintf("40%s\r\n%s\r\n", extension, strings.Repeat("x", 64)), nil},
		{"extensions", "1" + extension + "\r\nx\r\n", ErrOverhead},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := feed([]byte(strings.Repeat(c.chunk, chunks) + "0\r\n\r\n"))
			if got.err != c.want || got.done != (c.want == nil) {
				t.Errorf("got done %t, error %v, want error %v", got.done, got.err, c.want)
			}
		})
	}
}

// A chunked body costs nothing.
func TestChunksAllocate(t *testing.T) {
	in := []byte(strings.Repeat("5;a=\"b\"\r\nhello\r\n", 20) + "0\r\n\r\n")
	got := testing.AllocsPerRun(100, func() {
		var c Chunks
		for rest := in; !c.Done; {
			_, n, err := c.Next(rest)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			rest = rest[n:]
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
