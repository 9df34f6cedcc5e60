package server

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A script is a connection whose client says what it says in reads of some size, then
// waits until it is answered what it waits for, or nothing comes any more, and leaves.
type script struct {
	mu   sync.Mutex
	in   []byte
	step int
	out  bytes.Buffer
	gone chan struct{}
	once sync.Once
}

func (s *script) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), s.step)], s.in)
	if s.in = s.in[n:]; n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.gone) })
	return nil
}

func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// dialogues are what clients say, for a start.
func dialogues() [][]byte {
	var all [][]byte
	say := func(f func(fr *http2.Framer, head func(...string) []byte)) {
		var b, block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		fr := http2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		fr.WriteSettings()
		f(fr, func(fields ...string) []byte {
			block.Reset()
			for i := 0; i < len(fields); i += 2 {
				enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
			}
			return bytes.Clone(block.Bytes())
		})
		all = append(all, b.Bytes())
	}
	usual := []string{":method", "POST", ":scheme", "http", ":path", "/a", ":authority", "h"}
	say(func(fr *http2.Framer, head func(...string) []byte) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: head(append(usual, "content-length", "5", "cookie", "a", "cookie", "b")...)})
		fr.WriteData(1, true, []byte("hello"))
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndStream: true, EndHeaders: true, BlockFragment: head(usual...)})
		fr.WriteWindowUpdate(0, 100)
		fr.WriteRSTStream(3, http2.ErrCodeCancel)
	})
	say(func(fr *http2.Framer, head func(...string) []byte) {
		b := head(append(usual, "trailer", "x-a", "expect", "100-continue")...)
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5], PadLength: 3, Priority: http2.PriorityParam{StreamDep: 3}})
		fr.WriteContinuation(1, true, b[5:])
		fr.WriteDataPadded(1, false, []byte("hello"), make([]byte, 9))
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: head("x-a", "b")})
		fr.WritePing(false, [8]byte{1})
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
		fr.WriteSettingsAck()
		fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		fr.WritePriority(5, http2.PriorityParam{StreamDep: 1})
	})
	return all
}

// FuzzFrames proves that whatever a client says, the engine answers in frames that a
// strict reader takes, forgets the connection, and hands only well-formed requests on.
func FuzzFrames(f *testing.F) {
	for _, d := range dialogues() {
		f.Add(d, uint16(1))
		f.Add(d, uint16(4096))
	}
	f.Fuzz(func(t *testing.T, said []byte, step uint16) {
		c := settings(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "" || r.Header == nil || r.ProtoMajor != 2 || slices.Contains(r.Header["Te"], "gzip") || r.Header["Connection"] != nil {
				t.Errorf("got %+v", r)
			}
			io.Copy(w, r.Body)
		}, io.Discard)
		c.MaxHead = 4 << 10
		s := New(c)
		conn := &script{in: append([]byte(http2.ClientPreface), said...), step: int(step)%8192 + 1, gone: make(chan struct{})}
		s.take(conn)
		<-conn.gone
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		in := http2.NewFramer(nil, &conn.out)
		in.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			if _, err := in.ReadFrame(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("we sent what is no frame: %v", err)
			}
		}
	})
}
