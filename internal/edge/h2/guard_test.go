package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

// A wire is a connection whose client has said all already.
type wire struct {
	in     io.Reader
	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func (w *wire) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

func (*wire) LocalAddr() net.Addr              { return nil }
func (*wire) RemoteAddr() net.Addr             { return nil }
func (*wire) SetDeadline(time.Time) error      { return nil }
func (*wire) SetReadDeadline(time.Time) error  { return nil }
func (*wire) SetWriteDeadline(time.Time) error { return nil }

var ample = Limits{Head: 32 << 10, Time: time.Minute}

// guardOf returns a guard before a client that says in.
func guardOf(in io.Reader) (*Conn, *wire, *[]Breach) {
	w := &wire{in: in}
	var bs []Breach
	c := Guard(w, time.Now(), ample, func(b Breach) { bs = append(bs, b) })
	return c.(*Conn), w, &bs
}

// script writes frames after the preface and the first SETTINGS.
func script(write func(fr *http2.Framer)) []byte {
	var b bytes.Buffer
	b.WriteString(Preface)
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	fr.WriteSettings()
	write(fr)
	return b.Bytes()
}

// every writes a frame of each type, and shapes of each that differ for the guard.
func every(fr *http2.Framer) {
	fr.WriteSettingsAck()
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("abc")})
	fr.WriteContinuation(1, false, nil)
	fr.WriteContinuation(1, true, []byte("defgh"))
	fr.WriteData(1, false, []byte("some data"))
	fr.WriteData(1, false, nil)
	fr.WriteDataPadded(1, false, []byte("x"), make([]byte, 7))
	fr.WriteDataPadded(1, false, nil, make([]byte, 255))
	fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil)         // not even a length
	fr.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{200}) // more padding than frame
	fr.WriteDataPadded(1, true, []byte("end"), nil)
	fr.WritePriority(3, http2.PriorityParam{StreamDep: 1, Weight: 3})
	fr.WriteRSTStream(1, http2.ErrCodeCancel)
	fr.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{0, 1}) // too short
	fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true, BlockFragment: []byte("p")})
	fr.WritePing(false, [8]byte{1})
	fr.WritePing(true, [8]byte{2})
	fr.WriteGoAway(1, http2.ErrCodeNo, []byte("bye"))
	fr.WriteWindowUpdate(0, 10)
	fr.WriteWindowUpdate(1, 10)
	fr.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=3"))
	fr.WriteRawFrame(0xaa, 0xff, 1<<31-1, bytes.Repeat([]byte("grease"), 500))
}

// A seen is a frame as a walker tells of it.
type seen struct {
	Length, Stream uint32
	Typ, Flags     byte
	Content, Code  uint32
}

// walk has w follow p in the pieces that cut makes, and returns what it saw: the
// frames that began, and how many ended.
func walk(w *walker, p []byte, cut func(left int) int) (all []seen, over int) {
	for len(p) > 0 {
		n := cut(len(p))
		piece := p[:n]
		p = p[n:]
		for len(piece) > 0 || w.open && w.left == 0 {
			var s step
			switch piece, s = w.next(piece); s {
			case begun:
				f := seen{Length: w.length, Stream: w.stream, Typ: w.typ, Flags: w.flags}
				if w.typ == frameData {
					f.Content = w.content()
				}
				if w.typ == frameRSTStream {
					f.Code = w.code()
				}
				all = append(all, f)
			case ended:
				over++
			case inside:
			}
		}
	}
	return all, over
}

// However the bytes are cut, the walker sees the frames that were written.
func TestWalkerAtEveryBoundary(t *testing.T) {
	p := script(every)
	var want []seen
	for rest := p[prefaceSize:]; len(rest) > 0; { // the plainest reading there is
		n := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		f := seen{Length: uint32(n), Typ: rest[3], Flags: rest[4], Stream: (uint32(rest[5])<<24 | uint32(rest[6])<<16 | uint32(rest[7])<<8 | uint32(rest[8])) &^ (1 << 31)}
		payload := rest[9 : 9+n]
		switch {
		case f.Typ == frameData && f.Flags&8 != 0 && n > 0:
			f.Content = uint32(max(0, n-1-int(payload[0])))
		case f.Typ == frameData && f.Flags&8 == 0:
			f.Content = uint32(n)
		case f.Typ == frameRSTStream:
			var b [4]byte
			copy(b[:], payload)
			f.Code = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		}
		want = append(want, f)
		rest = rest[9+n:]
	}
	if len(want) < 24 {
		t.Fatalf("%d frames in the script", len(want))
	}
	for size := 1; size <= 64; size++ {
		got, over := walk(&walker{skip: uint32(prefaceSize)}, p, func(left int) int { return min(size, left) })
		if d := cmp.Diff(want, got); d != "" || over != len(want) {
			t.Fatalf("in pieces of %d: %d of %d ended (-want +got):\n%s", size, over, len(want), d)
		}
	}
	for at := 1; at < len(p); at++ {
		first := true
		got, over := walk(&walker{skip: uint32(prefaceSize)}, p, func(left int) int {
			if first {
				first = false
				return at
			}
			return left
		})
		if d := cmp.Diff(want, got); d != "" || over != len(want) {
			t.Fatalf("cut at %d: %d of %d ended (-want +got):\n%s", at, over, len(want), d)
		}
	}
}

// What the server reads is what the client said, to the last byte, and then the
// error of the connection.
func TestReadIsTransparent(t *testing.T) {
	want := append(script(every), "\x00\x00\x08\x06\x00"...) // ends within a frame
	for name, read := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "error with the last": iotest.DataErrReader,
	} {
		for _, size := range []int{1, 9, 100, bufferSize, 2 * bufferSize} {
			c, w, bs := guardOf(read(bytes.NewReader(want)))
			var got []byte
			p := make([]byte, size)
			var err error
			for err == nil {
				var n int
				n, err = c.Read(p)
				got = append(got, p[:n]...)
			}
			if err != io.EOF || !bytes.Equal(got, want) || len(*bs) > 0 || w.over() {
				t.Errorf("%s, by %d: got %d of %d bytes, %v, breaches %v", name, size, len(got), len(want), err, *bs)
			}
		}
	}
}

// floods are what no client has a reason to send again and again, with how often
// it may. Each can be repeated.
var floods = []struct {
	name  string
	write func(fr *http2.Framer, i int)
	limit int
	last  string
}{
	{"PING", func(fr *http2.Framer, _ int) { fr.WritePing(false, [8]byte{}) }, burst, "PING"},
	{"PING answers", func(fr *http2.Framer, _ int) { fr.WritePing(true, [8]byte{}) }, burst, "PING"},
	{"SETTINGS", func(fr *http2.Framer, _ int) { fr.WriteSettings() }, burst / costSettings, "SETTINGS"},
	{"SETTINGS answers", func(fr *http2.Framer, _ int) { fr.WriteSettingsAck() }, burst, "SETTINGS"},
	{"PRIORITY", func(fr *http2.Framer, i int) {
		fr.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2*i + 3)})
	}, burst, "PRIORITY"},
	{"PRIORITY_UPDATE", func(fr *http2.Framer, _ int) { fr.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1")) }, burst, "PRIORITY_UPDATE"},
	{"WINDOW_UPDATE", func(fr *http2.Framer, _ int) { fr.WriteWindowUpdate(0, 1) }, burst, "WINDOW_UPDATE"},
	{"empty DATA", func(fr *http2.Framer, _ int) { fr.WriteData(1, false, nil) }, burst, "DATA"},
	{"DATA of padding", func(fr *http2.Framer, _ int) { fr.WriteDataPadded(1, false, nil, make([]byte, 255)) }, burst, "DATA"},
	{"HEADERS that reach nobody", func(fr *http2.Framer, i int) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82}})
	}, burst / costRequest, "HEADERS"},
	{"empty CONTINUATION", func(fr *http2.Framer, i int) {
		if i == 0 {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
		}
		fr.WriteContinuation(1, false, nil)
	}, burst / costFragment, "CONTINUATION"},
	{"resets", func(fr *http2.Framer, i int) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), EndHeaders: true, BlockFragment: []byte{0x82}})
		fr.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	}, burst / (costRequest + costReset), ""},
	{"GOAWAY", func(fr *http2.Framer, _ int) { fr.WriteGoAway(0, http2.ErrCodeNo, nil) }, burst, "GOAWAY"},
	{"frames of an unknown type", func(fr *http2.Framer, _ int) { fr.WriteRawFrame(0xaa, 0, 0, make([]byte, 10<<10)) }, burst / (costFrame + 10), "unknown"},
}

// sips gives little at a time, so that one can see how far a flood came.
type sips struct{ io.Reader }

func (s sips) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), 64)]) }

// Each flood ends the connection near its limit, and the client is told why.
func TestFloods(t *testing.T) {
	for _, tt := range floods {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // no time passes, so nothing is filled up
				p := script(func(fr *http2.Framer) {
					for i := range 2 * tt.limit {
						tt.write(fr, i)
					}
				})
				c, w, bs := guardOf(sips{bytes.NewReader(p)})
				got, err := io.Copy(io.Discard, c)
				c.Close()
				if w.over() {
					t.Error("closed before the client can have read why")
				}
				<-time.After(2 * linger)
				var b Breach
				if !errors.As(err, &b) || !w.over() || len(*bs) != 1 || (*bs)[0] != b {
					t.Fatalf("got %v, closed=%v, reported %v", err, w.over(), *bs)
				}
				if least := int64(len(p))*2/5 - 128; got < least {
					t.Errorf("cut off after %d of %d bytes: too early", got, len(p))
				}
				if !strings.HasSuffix(string(b), tt.last) {
					t.Errorf("reason %q does not name %s", b, tt.last)
				}
				checkGoAway(t, w.out.Bytes(), string(b))
				if _, err := c.Read(make([]byte, 1)); err != b {
					t.Errorf("the next read says %v", err)
				}
				if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a later write says %v", err)
				}
			})
		})
	}
}

// checkGoAway wants exactly one GOAWAY at the end of what was written.
func checkGoAway(t *testing.T, written []byte, reason string) {
	t.Helper()
	f, err := http2.NewFramer(nil, bytes.NewReader(written)).ReadFrame()
	if err != nil {
		t.Fatalf("reading what was written: %v", err)
	}
	g, ok := f.(*http2.GoAwayFrame)
	if !ok || g.ErrCode != http2.ErrCodeEnhanceYourCalm || string(g.DebugData()) != reason {
		t.Errorf("got %v, want a GOAWAY that says %q", f, reason)
	}
}

// TestPaidFor shows that what belongs to work is not taken for a flood, however
// much of it comes.
func TestPaidFor(t *testing.T) {
	const rounds = 5000
	var answers bytes.Buffer
	server := http2.NewFramer(&answers, nil)
	for _, tt := range []struct {
		name   string
		client func(fr *http2.Framer, id uint32)
		server func(c *Conn, id uint32)
	}{
		{"requests, with the frames that browsers add", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82}})
			fr.WriteWindowUpdate(id, 12<<20)
			fr.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1"))
		}, func(c *Conn, _ uint32) {
			c.Reached()
			c.Answered()
		}},
		{"requests with bodies and trailers", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte{0x82}})
			fr.WriteData(id, false, []byte("x"))
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82}})
		}, func(c *Conn, _ uint32) {
			c.Reached()
			c.Answered()
		}},
		{"two requests, one of which is given up", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82}})
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id + 2, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82}})
			fr.WriteRSTStream(id+2, http2.ErrCodeCancel)
		}, func(c *Conn, _ uint32) {
			c.Reached()
			c.Reached()
			c.Answered()
		}},
		{"events, each with a PING and two WINDOW_UPDATEs", func(fr *http2.Framer, _ uint32) {
			fr.WritePing(false, [8]byte{})
			fr.WriteWindowUpdate(0, 100)
			fr.WriteWindowUpdate(1, 100)
		}, func(c *Conn, _ uint32) {
			answers.Reset()
			server.WriteData(1, false, make([]byte, 100))
			c.Write(answers.Bytes())
		}},
		{"a download, with WINDOW_UPDATEs for each KiB", func(fr *http2.Framer, _ uint32) {
			for range 16 {
				fr.WriteWindowUpdate(1, 1<<10)
			}
		}, func(c *Conn, _ uint32) {
			answers.Reset()
			server.WriteData(1, false, make([]byte, 16<<10))
			c.Write(answers.Bytes())
		}},
		{"messages of one byte", func(fr *http2.Framer, _ uint32) { fr.WriteData(1, false, []byte("x")) }, func(*Conn, uint32) {}},
		{"bodies that nobody wants", func(fr *http2.Framer, _ uint32) { fr.WriteData(1, false, make([]byte, 4<<10)) }, func(c *Conn, _ uint32) {
			answers.Reset()
			server.WriteRSTStream(1, http2.ErrCodeStreamClosed)
			c.Write(answers.Bytes())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pr, pw := io.Pipe()
				c, _, _ := guardOf(pr)
				go func() {
					pw.Write(script(func(*http2.Framer) {}))
					fr := http2.NewFramer(pw, nil)
					for i := range rounds {
						tt.client(fr, uint32(4*i+1))
						tt.server(c, uint32(4*i+1))
					}
					pw.Close()
				}()
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Errorf("cut off: %v", err)
				}
			})
		})
	}
}

// What a client makes the server send counts too: resets that it provokes
// (MadeYouReset), and DATA in crumbs (CVE-2019-9511).
func TestProvoked(t *testing.T) {
	for _, tt := range []struct {
		name     string
		client   func(fr *http2.Framer, id uint32)
		server   func(fr *http2.Framer, id uint32)
		reached  bool
		breaches bool
	}{
		{"resets for errors of the client", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte{0x82}})
		}, func(fr *http2.Framer, id uint32) { fr.WriteRSTStream(id, http2.ErrCodeFlowControl) }, true, true},
		{
			"small DATA for closed streams", func(fr *http2.Framer, id uint32) { fr.WriteData(id, false, []byte("x")) },
			func(fr *http2.Framer, id uint32) { fr.WriteRSTStream(id, http2.ErrCodeStreamClosed) }, false, true,
		},
		{
			"answers in crumbs", func(fr *http2.Framer, id uint32) { fr.WriteWindowUpdate(id, 1) },
			func(fr *http2.Framer, id uint32) { fr.WriteData(id, false, []byte("x")) }, false, true,
		},
		{"answers that are cut because the agent failed", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte{0x82}})
		}, func(fr *http2.Framer, id uint32) { fr.WriteRSTStream(id, http2.ErrCodeInternal) }, true, false},
		{"early answers", func(fr *http2.Framer, id uint32) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: []byte{0x82}})
		}, func(fr *http2.Framer, id uint32) { fr.WriteRSTStream(id, http2.ErrCodeNo) }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pr, pw := io.Pipe()
				c, _, _ := guardOf(pr)
				go func() {
					pw.Write(script(func(*http2.Framer) {}))
					fr, to := http2.NewFramer(pw, nil), http2.NewFramer(c, nil)
					for i := range 3000 {
						tt.client(fr, uint32(2*i+1))
						if tt.reached {
							c.Reached()
						}
						tt.server(to, uint32(2*i+1))
					}
					pw.Close()
				}()
				_, err := io.Copy(io.Discard, c)
				pr.Close()
				var b Breach
				if errors.As(err, &b) != tt.breaches {
					t.Errorf("got %v, want a breach: %v", err, tt.breaches)
				}
			})
		})
	}
}

// A client that sends such frames now and then does not use its budget up.
func TestBudgetIsFilledByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		c, _, _ := guardOf(pr)
		go func() {
			pw.Write(script(func(*http2.Framer) {}))
			fr := http2.NewFramer(pw, nil)
			for range 20 * burst {
				fr.WritePing(false, [8]byte{})
				<-time.After(time.Second / rate)
			}
			pw.Close()
		}()
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("cut off: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		<-time.After(time.Hour)
		n := 0
		for b.spend(1) {
			n++
		}
		if n > 2*burst {
			t.Errorf("an hour of silence was worth %d", n)
		}
		b.left.Store(burst)
		b.earn(5)
		if got := b.left.Load(); got != burst {
			t.Errorf("saved %d, more than a burst", got)
		}
	})
}

// TestSlow shows what a client has how much time for.
func TestSlow(t *testing.T) {
	open := http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}
	whole := open
	whole.EndHeaders = true
	for _, tt := range []struct {
		name string
		say  []byte
		drip func(fr *http2.Framer, raw io.Writer, i int) // every ten seconds, of a minute that it has
		want Breach
	}{
		{"nothing", nil, nil, errBegin},
		{"half a preface", []byte(Preface)[:10], nil, errBegin},
		{"no SETTINGS", []byte(Preface), nil, errBegin},
		{"half of SETTINGS", append([]byte(Preface), 0, 0), nil, errBegin},
		{"a preface byte by byte", nil, func(_ *http2.Framer, raw io.Writer, i int) { io.WriteString(raw, Preface[i%24:i%24+1]) }, errBegin},
		{"half a frame head", append(script(every), 0, 0, 8, 6), nil, errSlow},
		{"half a PING", append(script(every), "\x00\x00\x08\x06\x00\x00\x00\x00\x00ping"...), nil, errSlow},
		{"half a HEADERS", append(script(every), "\x00\x00\x08\x01\x04\x00\x00\x00\x01head"...), nil, errSlow},
		{"HEADERS without an end", script(func(fr *http2.Framer) { fr.WriteHeaders(open) }), nil, errSlow},
		{"slow CONTINUATIONs", script(func(fr *http2.Framer) { fr.WriteHeaders(open) }), func(fr *http2.Framer, _ io.Writer, _ int) { fr.WriteContinuation(1, false, []byte{0x84}) }, errSlow},
		{"a quiet connection", script(every), nil, ""},
		{"half a DATA", append(script(func(fr *http2.Framer) { fr.WriteHeaders(whole) }), "\x00\x00\x08\x00\x00\x00\x00\x00\x01data"...), nil, ""},
		{"frames whose pieces overlap", script(func(fr *http2.Framer) { fr.WriteHeaders(whole) }), func(_ *http2.Framer, raw io.Writer, i int) {
			if i == 0 {
				io.WriteString(raw, "\x00\x00\x08\x06")
			}
			io.WriteString(raw, "\x00\x00\x00\x00\x0012345678"+"\x00\x00\x08\x06")
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { slow(t, tt.say, tt.drip, tt.want) })
		})
	}
}

func slow(t *testing.T, say []byte, drip func(*http2.Framer, io.Writer, int), want Breach) {
	near, far := net.Pipe()
	c := Guard(near, time.Now(), ample, nil)
	go io.Copy(io.Discard, far) // the GOAWAY
	over := make(chan struct{})
	go func() {
		defer close(over)
		far.Write(say)
		fr := http2.NewFramer(far, nil)
		for i := range 24 {
			<-time.After(10 * time.Second)
			if drip != nil {
				drip(fr, far, i)
			}
		}
		far.Close()
	}()
	start := time.Now()
	_, err := io.Copy(io.Discard, c)
	took := time.Since(start)
	near.Close()
	<-over
	if want == "" {
		if err != nil || took < 4*time.Minute {
			t.Errorf("got %v after %s", err, took)
		}
		return
	}
	if err != want || took < time.Minute || took > time.Minute+farewell {
		t.Errorf("got %v after %s, want %v after a minute", err, took, want)
	}
}

// A head may be somewhat larger than allowed, so that the server can say so, and no
// larger, in however many frames it comes.
func TestLargeHeads(t *testing.T) {
	for _, tt := range []struct {
		size, piece int
		breach      bool
	}{
		{32 << 10, 16 << 10, false},
		{60 << 10, 16 << 10, false},
		{80 << 10, 16 << 10, true},
		{80 << 10, 1 << 10, true},
		{1 << 20, 16 << 10, true},
	} {
		p := script(func(fr *http2.Framer) {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			for n := 0; n < tt.size; n += tt.piece {
				fr.WriteContinuation(1, n+tt.piece >= tt.size, make([]byte, tt.piece))
			}
		})
		c, _, _ := guardOf(bytes.NewReader(p))
		_, err := io.Copy(io.Discard, c)
		if got := err == errLarge; got != tt.breach || err != nil && !got {
			t.Errorf("%d bytes in pieces of %d: got %v, want a breach: %v", tt.size, tt.piece, err, tt.breach)
		}
	}
}

// No GOAWAY is written into a frame of the server: it waits for its end, but not for
// ever, nor for a client that does not read.
func TestFarewell(t *testing.T) {
	flood := script(func(fr *http2.Framer) {
		for range 2 * burst {
			fr.WritePing(false, [8]byte{})
		}
	})
	const half, rest = "\x00\x00\x08\x00\x00\x00\x00\x00\x01half", " and "
	for _, goesOn := range []bool{true, false} {
		t.Run(fmt.Sprintf("within a frame that goes on: %v", goesOn), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, w, _ := guardOf(bytes.NewReader(flood))
				io.WriteString(c, half)
				go func() {
					<-time.After(farewell / 2)
					if goesOn {
						io.WriteString(c, rest[:4])
					}
				}()
				if _, err := io.Copy(io.Discard, c); err == nil {
					t.Fatal("not cut off")
				}
				got, whole := bytes.CutPrefix(w.out.Bytes(), []byte(half+rest[:4]))
				if whole != goesOn || !goesOn && w.out.String() != half {
					t.Fatalf("wrote %q", w.out.Bytes())
				}
				if goesOn {
					checkGoAway(t, got, "too many frames that ask for nothing; the last was PING")
				}
			})
		})
	}
	t.Run("a client that does not read", func(t *testing.T) {
		near, far := net.Pipe()
		c := Guard(near, time.Now(), ample, nil)
		blocked := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, headSize))
			blocked <- err
		}()
		go far.Write(flood)
		c.SetDeadline(time.Now().Add(time.Hour)) // the server's time is not the guard's
		if _, err := io.Copy(io.Discard, c); err == nil {
			t.Error("not cut off")
		}
		if err := <-blocked; err == nil {
			t.Error("the write of the server did not fail")
		}
		if err := c.SetWriteDeadline(time.Now()); err != nil {
			t.Error(err)
		}
	})
}

// TestHeadWaitsForBody shows that the head of an answer and what follows it are one
// write, that a head alone is not late, and that nothing is lost or out of order.
func TestHeadWaitsForBody(t *testing.T) {
	frame := func(write func(fr *http2.Framer)) []byte {
		var b bytes.Buffer
		write(http2.NewFramer(&b, nil))
		return b.Bytes()
	}
	head := frame(func(fr *http2.Framer) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0x88}})
	})
	whole := frame(func(fr *http2.Framer) {
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x88}})
	})
	data := frame(func(fr *http2.Framer) { fr.WriteData(1, true, []byte("data")) })
	large := frame(func(fr *http2.Framer) { fr.WriteData(1, true, make([]byte, 16<<10)) })
	join := func(ps ...[]byte) []byte { return bytes.Join(ps, nil) }
	for _, tt := range []struct {
		name   string
		writes [][]byte
		sent   [][]byte
	}{
		{"head and body", [][]byte{head, data}, [][]byte{join(head, data)}},
		{"two heads, then a body", [][]byte{head, head, data}, [][]byte{join(head, head, data)}},
		{"head and a large body", [][]byte{head, large}, [][]byte{head, large}},
		{"an answer without a body", [][]byte{whole}, [][]byte{whole}},
		{"body only", [][]byte{data, data}, [][]byte{data, data}},
		{"half a head", [][]byte{head[:5], head[5:], data}, [][]byte{head[:5], join(head[5:], data)}},
		{"more heads than can wait", slices.Repeat([][]byte{head}, heldSize/len(head)+1), [][]byte{bytes.Repeat(head, heldSize/len(head)), head}},
		{"head alone", [][]byte{head}, [][]byte{head}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &pieces{}
				c := Guard(w, time.Now(), ample, nil)
				for _, p := range tt.writes {
					if n, err := c.Write(p); n != len(p) || err != nil {
						t.Fatalf("wrote %d of %d: %v", n, len(p), err)
					}
				}
				<-time.After(headDelay)
				synctest.Wait()
				if d := cmp.Diff(tt.sent, w.all); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				c.Write(head)
				c.Close()
				<-time.After(headDelay)
				synctest.Wait()
				if len(w.all) != len(tt.sent) {
					t.Error("something was written after the end")
				}
			})
		})
	}
}

// TestPrompt shows that nothing waits for a server that gathers by itself.
func TestPrompt(t *testing.T) {
	limits := ample
	limits.Prompt = true
	w := &pieces{}
	c := Guard(w, time.Now(), limits, nil)
	var b bytes.Buffer
	http2.NewFramer(&b, nil).WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0x88}})
	if _, err := c.Write(b.Bytes()); err != nil || len(w.all) != 1 || !bytes.Equal(w.all[0], b.Bytes()) {
		t.Errorf("got %q, %v, want the head", w.all, err)
	}
}

// pieces keeps what is written to it, by the write.
type pieces struct {
	wire

	all [][]byte
}

func (w *pieces) Write(p []byte) (int, error) {
	w.all = append(w.all, bytes.Clone(p))
	return len(p), nil
}

// Handlers find the guard, and the TLS state if there is one.
func TestContext(t *testing.T) {
	plain, _, _ := guardOf(bytes.NewReader(nil))
	over := &secure{Conn: plain, state: tls.ConnectionState{ServerName: "h"}}
	for _, tt := range []struct {
		c     net.Conn
		found bool
		name  string
	}{{plain, true, ""}, {over, true, "h"}, {&wire{}, false, ""}} {
		c, state := Of(WithConn(context.Background(), tt.c))
		name := ""
		if state != nil {
			name = state.ServerName
		}
		if (c == plain) != tt.found || name != tt.name {
			t.Errorf("%T: got %v, %q", tt.c, c, name)
		}
	}
}

// FuzzGuard shows that what the guard sees does not depend on how the bytes come,
// that nothing is lost or changed, and that it stops at nothing but a breach.
func FuzzGuard(f *testing.F) {
	f.Add(script(every), uint8(3))
	for _, tt := range floods {
		f.Add(script(func(fr *http2.Framer) {
			for i := range 20 {
				tt.write(fr, i)
			}
		}), uint8(20))
	}
	f.Fuzz(func(t *testing.T, p []byte, size uint8) {
		read := func(r io.Reader) ([]byte, error) {
			c, _, _ := guardOf(r)
			c.budget.filled = time.Now().Add(time.Hour) // no time makes up for anything
			got, err := io.ReadAll(c)
			for n := 0; n < len(p); n += int(size) + 1 { // the same bytes as if the server had sent them
				if _, werr := c.Write(p[n:min(len(p), n+int(size)+1)]); werr != nil && err == nil {
					t.Fatalf("writing: %v", werr)
				}
			}
			return got, err
		}
		got, err := read(bytes.NewReader(p))
		if !bytes.HasPrefix(p, got) || err == nil && len(got) != len(p) {
			t.Fatalf("%d of %d bytes came through, %v", len(got), len(p), err)
		}
		small, serr := read(iotest.OneByteReader(bytes.NewReader(p)))
		if (err == nil) != (serr == nil) {
			t.Fatalf("whole: %v, byte by byte: %v", err, serr)
		}
		if !bytes.HasPrefix(p, small) {
			t.Fatal("byte by byte, other bytes came through")
		}
		whole, _ := walk(&walker{skip: uint32(prefaceSize)}, p, func(left int) int { return left })
		pieces, _ := walk(&walker{skip: uint32(prefaceSize)}, p, func(left int) int { return min(left, int(size)+1) })
		if d := cmp.Diff(whole, pieces); d != "" {
			t.Fatalf("in pieces (-whole +pieces):\n%s", d)
		}
	})
}
