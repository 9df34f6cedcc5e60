package wire

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func frameReader(b []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(b), 32<<10) }

// What is written is what golang.org/x/net/http2 reads.
func TestFramesAreUnderstoodByOthers(t *testing.T) {
	settings := AppendSetting(nil, InitialWindow, 1<<20)
	b := AppendFrame(nil, Frame{Type: Settings, Payload: settings})
	b = AppendFrame(b, Frame{Type: Data, Flags: EndStream, Stream: 5, Payload: []byte("hello")})
	fr := http2.NewFramer(nil, bytes.NewReader(b))
	f, err := fr.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := f.(*http2.SettingsFrame).Value(http2.SettingInitialWindowSize); !ok || got != 1<<20 {
		t.Errorf("window: got %d, %t", got, ok)
	}
	if f, err = fr.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	d := f.(*http2.DataFrame)
	if string(d.Data()) != "hello" || d.StreamID != 5 || !d.StreamEnded() {
		t.Errorf("got %v %q", d, d.Data())
	}
}

// What golang.org/x/net/http2 writes is read.
func TestReadFrame(t *testing.T) {
	var buf bytes.Buffer
	w := http2.NewFramer(&buf, nil)
	w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 14}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 77})
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x88}, EndHeaders: true, PadLength: 9, Priority: http2.PriorityParam{StreamDep: 1, Weight: 2}})
	w.WriteDataPadded(3, true, []byte("abc"), make([]byte, 4))
	w.WriteWindowUpdate(0, 4711)
	br := frameReader(buf.Bytes())
	var all []Frame
	for range 4 {
		f, err := ReadFrame(br)
		if err != nil {
			t.Fatal(err)
		}
		f.Payload = bytes.Clone(f.Payload)
		all = append(all, f)
	}
	if v, ok := all[0].Setting(InitialWindow); !ok || v != 77 {
		t.Errorf("setting: got %d, %t", v, ok)
	}
	if b, err := all[1].Body(); err != nil || !IsOK(b) || len(b) != 1 || all[1].Flags&EndStream != 0 {
		t.Errorf("headers: got %v, %v", b, err)
	}
	if b, err := all[2].Body(); err != nil || string(b) != "abc" || all[2].Stream != 3 || all[2].Flags&EndStream == 0 {
		t.Errorf("data: got %q, %v", b, err)
	}
	if n, err := all[3].Number(); err != nil || n != 4711 {
		t.Errorf("window update: got %d, %v", n, err)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	if _, err := ReadFrame(frameReader([]byte{0, 0x40, 1, 0, 0, 0, 0, 0, 1})); !errors.Is(err, ErrMalformed) {
		t.Errorf("a long frame: got %v", err)
	}
	if _, err := ReadFrame(frameReader([]byte{0, 0, 5, 0, 0, 0, 0, 0, 1, 'x'})); err == nil {
		t.Error("a frame that is cut was read")
	}
	for _, f := range []Frame{{Type: Data, Flags: padded}, {Type: Data, Flags: padded, Payload: []byte{2, 0}}, {Type: Headers, Flags: priority, Payload: []byte{1}}} {
		if _, err := f.Body(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: got %v", f, err)
		}
	}
	if _, err := (Frame{Payload: []byte{1}}).Number(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a short number: got %v", err)
	}
}

// The first block fills the table of the other side, later ones refer to it.
func TestFieldsAreTheSameEachTime(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 300))
	fields := []Field{{2, "POST"}, {4, "/v1"}, {23, long}, {28, "1024"}}
	want := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":path", Value: "/v1"}, {Name: "authorization", Value: long}, {Name: "content-length", Value: "1024"}}
	d := hpack.NewDecoder(4096, nil)
	for i := range 3 {
		block := AppendFields(nil, fields, i == 0)
		got, err := d.DecodeFull(block)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("block %d (-want +got)\n%s", i, diff)
		}
		if i > 0 && len(block) != len(fields) {
			t.Errorf("block %d has %d bytes, want %d", i, len(block), len(fields))
		}
	}
}

func TestIsOK(t *testing.T) {
	for _, tt := range []struct {
		block []byte
		want  bool
	}{
		{[]byte{0x88}, true},
		{[]byte{0x20, 0x88, 0x61}, true},
		{[]byte{0x3f, 0xe1, 0x1f, 0x88}, true},
		{[]byte{0x8d}, false},
		{[]byte{0x48, 3, '5', '0', '2'}, false},
		{[]byte{0x3f, 0xff}, false},
		{nil, false},
	} {
		if got := IsOK(tt.block); got != tt.want {
			t.Errorf("%x: got %t, want %t", tt.block, got, tt.want)
		}
	}
}

// Whatever arrives is read or refused.
func FuzzFrame(f *testing.F) {
	f.Add(AppendFrame(nil, Frame{Type: Headers, Flags: EndHeaders | padded | priority, Stream: 1, Payload: []byte{1, 0, 0, 0, 0, 9, 0x88, 0}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		br := frameReader(in)
		for {
			frame, err := ReadFrame(br)
			if err != nil {
				return
			}
			if b, err := frame.Body(); err == nil && len(b) > len(frame.Payload) {
				t.Fatalf("a body of %d bytes in %d", len(b), len(frame.Payload))
			}
			IsOK(frame.Payload)
			frame.Setting(InitialWindow)
			_, _ = frame.Number()
		}
	})
}
