package http1

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"
)

func TestAppend(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"field", string(AppendField([]byte("x"), "A", "b")), "xA: b\r\n"},
		{"empty field", string(AppendField(nil, "A", "")), "A: \r\n"},
		{"fields", appendAll(http.Header{"A": {"b", "c"}}), "A: b\r\nA: c\r\n"},
		{"fields in order", appendAll(http.Header{"C": {"1"}, "A": {"2"}, "D": {"3"}, "B": {"4", "0"}}), "A: 2\r\nB: 4\r\nB: 0\r\nC: 1\r\nD: 3\r\n"},
		{"no fields", appendAll(nil), ""},
		{"length", string(AppendLength(nil, 0)), "Content-Length: 0\r\n"},
		{"long length", string(AppendLength(nil, 1<<62)), "Content-Length: 4611686018427387904\r\n"},
		{"status", string(AppendStatus(nil, 200, "")), "HTTP/1.1 200 OK\r\n"},
		{"status and reason", string(AppendStatus(nil, 200, "Fine")), "HTTP/1.1 200 Fine\r\n"},
		{"another status", string(AppendStatus(nil, 404, "")), "HTTP/1.1 404 Not Found\r\n"},
		{"status of nobody", string(AppendStatus(nil, 599, "")), "HTTP/1.1 599 \r\n"},
		{"chunk", string(AppendChunkSize(nil, 1)), "1\r\n"},
		{"large chunk", string(AppendChunkSize(nil, 0xabcdef)), "abcdef\r\n"},
		{"last chunk", string(AppendLastChunk(nil, nil)), "0\r\n\r\n"},
		{"trailers", string(AppendLastChunk(nil, http.Header{"A": {"b", "c"}})), "0\r\nA: b\r\nA: c\r\n\r\n"},
		{"trailers in order", string(AppendLastChunk(nil, http.Header{"C": {"3"}, "A": {"1"}, "B": {"2"}})), "0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n"},
		{"trailers that are none", string(AppendLastChunk(nil, http.Header{"A": {"1"}, "B": {"2", "3\r\nX: y"}, "C D": {"4"}})), "0\r\nA: 1\r\n\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

// appendAll is h written down.
func appendAll(h http.Header) string {
	var b []byte
	for _, l := range Lines(nil, h) {
		b, _ = AppendLine(b, &l)
	}
	return string(b)
}

// However many names there are, they come in order.
func TestLines(t *testing.T) {
	h := http.Header{}
	for i := range 2 * MaxFields {
		h.Set(fmt.Sprintf("X-%d", i*7919%1000), "a")
	}
	var room [32]Line
	var got []string
	for _, l := range Lines(room[:0], h) {
		got = append(got, l.Name)
	}
	if d := cmp.Diff(got, slices.Sorted(maps.Keys(h))); d != "" {
		t.Errorf("got (-), want (+)\n%s", d)
	}
}

// What is not valid is not written, not even in part.
func TestInvalidLines(t *testing.T) {
	for _, l := range []Line{
		{"", []string{"a"}},
		{"A B", []string{"a"}},
		{"A:", []string{"a"}},
		{"A\r\n", []string{"a"}},
		{"A", []string{"a", "b\r\nC: d"}},
		{"A", []string{"a\x00"}},
		{"A", []string{"\x7f"}},
	} {
		if b, ok := AppendLine([]byte("before"), &l); ok || string(b) != "before" {
			t.Errorf("%q: got %q, %t", l, b, ok)
		}
	}
}

// What is written is read again as it was.
func TestWrittenIsRead(t *testing.T) {
	header := http.Header{"A": {"1", "2"}, "Set-Cookie": {"x", "y"}, "Empty": {""}, "Content-Length": {"7"}}
	b := AppendStatus(nil, 299, "My own")
	without := maps.Clone(header)
	delete(without, "Content-Length")
	b = append(b, appendAll(without)...)
	b = append(AppendLength(b, 9), "\r\n"...)
	got, n, err := answer(b)
	if err != nil || n != len(b) {
		t.Fatalf("%q: got %d bytes, error %v", b, n, err)
	}
	want := header.Clone()
	want.Set("Content-Length", "9")
	if d := cmp.Diff(got.Header, want); d != "" || got.Status != 299 || got.Reason != "My own" || got.Length != 9 {
		t.Errorf("got %d %q, length %d, (-) want (+)\n%s", got.Status, got.Reason, got.Length, d)
	}
	trailer := http.Header{"A": {"1", "2"}, "B": {""}}
	body := append(AppendChunkSize(nil, 17), "seventeen bytes .\r\n"...)
	f := feed(AppendLastChunk(body, trailer))
	if d := cmp.Diff(f.trailer, trailer); d != "" || f.data != "seventeen bytes ." || !f.done {
		t.Errorf("got %+v, trailers (-) want (+)\n%s", f, d)
	}
}

// Every byte, alone and among others, is valid where httpguts says so.
func TestValid(t *testing.T) {
	texts := []string{"", "Content-Type", "a value, with bytes of ä\t"}
	for c := range 256 {
		texts = append(texts, string([]byte{byte(c)}), string([]byte{'a', byte(c), 'b'}), string(append([]byte("long enough for words "), byte(c), 'b')))
	}
	for _, s := range texts {
		if got, want := ValidName(s), httpguts.ValidHeaderFieldName(s); got != want {
			t.Errorf("ValidName(%q) = %t, want %t", s, got, want)
		}
		if got, want := ValidValue(s), httpguts.ValidHeaderFieldValue(s); got != want {
			t.Errorf("ValidValue(%q) = %t, want %t", s, got, want)
		}
		if got, want := control([]byte(s)) == len(s), httpguts.ValidHeaderFieldValue(s); got != want {
			t.Errorf("control(%q) finds none: %t, want %t", s, got, want)
		}
	}
}
