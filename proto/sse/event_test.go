package sse

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestAppend(t *testing.T) {
	tests := []struct {
		name string
		in   Event
		want string
	}{
		{"nothing", Event{}, ""},
		{"data", Event{Data: []byte("a")}, "data: a\n\n"},
		{"empty data", Event{Data: []byte{}}, "data:\n\n"},
		{"lines of data", Event{Data: []byte("a\nb\n\nc\n")}, "data: a\ndata: b\ndata:\ndata: c\ndata:\n\n"},
		{"returns in data", Event{Data: []byte("a\rb\r\nc")}, "data: a\ndata: b\ndata: c\n\n"},
		{
			"all",
			Event{ID: "7", Type: "add", Data: []byte("{}"), Retry: "10", Comment: "hi"},
			": hi\nevent: add\nid: 7\nretry: 10\ndata: {}\n\n",
		},
		{"comment of two lines", Event{Comment: "a\nb"}, ": a\n: b\n\n"},
		{"empty id", Event{HasID: true}, "id: \n\n"},
		{"a forged field", Event{Type: "a\ndata: x", ID: "1\r\ndata: y\x00"}, "event: a data: x\nid: 1  data: y \n\n"},
		{"retry without digits", Event{Retry: "1s", Data: []byte("a")}, "data: a\n\n"},
		{"leading space", Event{Data: []byte(" a"), Comment: " b"}, ":  b\ndata:  a\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(Append(nil, tt.in)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An event that was read keeps its order, its unknown lines and its line ends;
// only what was changed is written anew, where it stood.
func TestAppendChanged(t *testing.T) {
	const in = "x-vendor: 1\nid: 4\r\ndata: a\n: note\ndata: b\revent: add\nretry: 5\n\n"
	tests := []struct {
		name   string
		change func(*Event)
		want   string
	}{
		{"nothing", func(*Event) {}, in},
		{
			"data", func(e *Event) { e.Data = []byte("c") },
			"x-vendor: 1\nid: 4\r\ndata: c\n: note\nevent: add\nretry: 5\n\n",
		},
		{
			"data to more lines", func(e *Event) { e.Data = []byte("c\nd\ne") },
			"x-vendor: 1\nid: 4\r\ndata: c\ndata: d\ndata: e\n: note\nevent: add\nretry: 5\n\n",
		},
		{
			"no data", func(e *Event) { e.Data = nil },
			"x-vendor: 1\nid: 4\r\n: note\nevent: add\nretry: 5\n\n",
		},
		{
			"type and id", func(e *Event) { e.Type, e.ID = "del", "5" },
			"x-vendor: 1\nid: 5\ndata: a\n: note\ndata: b\revent: del\nretry: 5\n\n",
		},
		{
			"no id, comment, retry", func(e *Event) { e.ID, e.HasID, e.Comment, e.Retry = "", false, "", "" },
			"x-vendor: 1\ndata: a\ndata: b\revent: add\n\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := NewReader(strings.NewReader(in), 0).Next()
			if err != nil {
				t.Fatal(err)
			}
			tt.change(&e)
			if got := string(Append(nil, e)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAppendAdded(t *testing.T) {
	e, err := NewReader(strings.NewReader("data: a\r\r"), 0).Next()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(Append(nil, e)), "data: a\r\r"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Type = "add"
	if got, want := string(Append(nil, e)), "data: a\revent: add\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Type, e.Data = "", nil
	if got := string(Append(nil, e)); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

// A byte order mark in the middle hides a field. If what was before it goes, it
// must not be taken for the stream's.
func TestAppendHiddenField(t *testing.T) {
	e, err := NewReader(strings.NewReader("data: a\n\xEF\xBB\xBFdata: b\nid: 1\n\n"), 0).Next()
	if err != nil {
		t.Fatal(err)
	}
	e.Data = nil
	if got, want := string(Append(nil, e)), "id: 1\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The lines of an event are the reader's, and are not taken for those of the
// next one. A clone has its own.
func TestStaleEvent(t *testing.T) {
	r := NewReader(strings.NewReader("id: 1\nx: y\n\nid: 2\n\n"), 0)
	first, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	clone := first.Clone()
	second, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		e    Event
		want string
	}{
		{"stale", first, "id: 1\n\n"},
		{"clone", clone, "id: 1\nx: y\n\n"},
		{"fresh", second, "id: 2\n\n"},
	} {
		if got := string(Append(nil, tt.e)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestEqual(t *testing.T) {
	a := Event{ID: "1", Data: []byte("x")}
	tests := []struct {
		name string
		b    Event
		want bool
	}{
		{"same", Event{ID: "1", Data: []byte("x")}, true},
		{"data", Event{ID: "1", Data: []byte("y")}, false},
		{"id", Event{ID: "2", Data: []byte("x")}, false},
		{"none", Event{}, false},
	}
	for _, tt := range tests {
		if got := a.Equal(tt.b); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if (Event{Data: []byte{}}).Equal(Event{}) {
		t.Error("empty data is taken for none")
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("1", true, "add", []byte("{}"), true, "100", "hi")
	f.Add("", true, "", []byte("a\n\nb\n"), true, "x", "a\r\nb")
	f.Add(" ", false, "\n", []byte(nil), false, "", "\n")
	f.Add("\x00", false, ": ", []byte("\xEF\xBB\xBF"), true, "", "")
	f.Fuzz(func(t *testing.T, id string, hasID bool, typ string, data []byte, hasData bool, retry, comment string) {
		e := Event{ID: id, HasID: hasID, Type: typ, Retry: retry, Comment: comment}
		if hasData {
			e.Data = data
			if data == nil {
				e.Data = []byte{}
			}
		}
		wire := Append(nil, e)
		got, err := read(bytes.NewReader(wire), 0)
		if err != nil {
			t.Fatalf("%q: %v", wire, err)
		}
		want := canonical(e)
		if want.Equal(Event{}) {
			if len(wire) > 0 {
				t.Fatalf("an empty event wrote %q", wire)
			}
			return
		}
		if diff := cmp.Diff([]Event{want}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", wire, diff)
		}
	})
}

// canonical is e as it can be written at all.
func canonical(e Event) Event {
	e.HasID = e.HasID || e.ID != ""
	e.ID, e.Type = unsafeText.Replace(e.ID), unsafeText.Replace(e.Type)
	if !digits(e.Retry) {
		e.Retry = ""
	}
	feeds := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	e.Comment = feeds.Replace(e.Comment)
	if e.Data != nil {
		e.Data = []byte(feeds.Replace(string(e.Data)))
	}
	return e
}

// Whatever the bytes, and wherever they are cut, the events are the same; and
// what is written of them reads as the same events again.
func FuzzReader(f *testing.F) {
	for _, tt := range streams {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const max = 256
		want, wantErr := read(bytes.NewReader(in), max)
		got, err := read(iotest.OneByteReader(bytes.NewReader(in)), max)
		if diff := cmp.Diff(want, got); diff != "" || err != wantErr {
			t.Fatalf("byte by byte: %v, want %v (-want +got):\n%s", err, wantErr, diff)
		}
		var wire []byte
		for _, e := range want {
			wire = Append(wire, e)
		}
		if got, err = read(bytes.NewReader(wire), 2*max); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("written as %q (-want +got):\n%s", wire, diff)
		}
	})
}
