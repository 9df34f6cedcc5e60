package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside/internal/http1"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A served server is an engine on an address of its own.
type served struct {
	*Server

	t    *testing.T
	addr string
	log  *syncBuffer
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func settings(h http.HandlerFunc, log io.Writer) Config {
	return Config{
		Handler: h, Refuse: refuse, Context: context.Background(), MaxHead: 32 << 10,
		Streams: 100, StreamWindow: 256 << 10, ConnWindow: 1 << 20,
		Log: slog.New(slog.NewTextHandler(log, nil)), Poison: true,
	}
}

func refuse(w http.ResponseWriter, _ *http.Request, why *http1.Error) {
	http.Error(w, why.Reason, why.Status)
}

// serve starts an engine, which is closed with the test, and must leave nothing.
func serve(t *testing.T, h http.HandlerFunc, changes ...func(*Config)) *served {
	t.Helper()
	s := &served{t: t, log: &syncBuffer{}}
	c := settings(h, s.log)
	for _, change := range changes {
		change(&c)
	}
	s.Server = New(c)
	ln := listen(t)
	s.addr = ln.Addr().String()
	end := make(chan error, 1)
	go func() { end <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("something was left under way: %v", err)
		}
		if err := <-end; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s
}

// client returns a foreign client of HTTP/2 without TLS.
func client(t *testing.T) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// A peer is a client that speaks frame by frame.
type peer struct {
	*http2.Framer

	t    *testing.T
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

// raw connects, and says how it begins.
func (s *served) raw(begin string) *peer {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	p := &peer{t: s.t, conn: c, Framer: http2.NewFramer(c, c)}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	io.WriteString(c, begin)
	return p
}

// dial begins a connection, and reads what the server greets with.
func (s *served) dial(own ...http2.Setting) *peer {
	s.t.Helper()
	p := s.raw(http2.ClientPreface)
	p.WriteSettings(own...)
	p.WriteSettingsAck()
	for acked := false; !acked; {
		f, err := p.ReadFrame()
		if err != nil {
			s.t.Fatalf("greeting: %v", err)
		}
		sf, ok := f.(*http2.SettingsFrame)
		acked = ok && sf.IsAck()
	}
	return p
}

// block is a head, compressed.
func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for _, f := range fields {
		i := strings.Index(f[1:], ":") + 1
		p.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: strings.TrimPrefix(f[i+1:], " ")})
	}
	return p.buf.Bytes()
}

// get and post are the heads of usual requests.
var (
	get  = []string{":method: GET", ":scheme: http", ":path: /a", ":authority: host"}
	post = []string{":method: POST", ":scheme: http", ":path: /a", ":authority: host"}
)

// open sends a head.
func (p *peer) open(id uint32, end bool, fields ...string) {
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: end, EndHeaders: true, BlockFragment: p.block(fields...)})
}

// next is the next frame that is neither a WINDOW_UPDATE nor an acknowledgement.
func (p *peer) next() http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := f.(type) {
		case *http2.WindowUpdateFrame:
		case *http2.SettingsFrame:
		default:
			return f
		}
	}
}

// An answer is what came on a stream.
type answer struct {
	status  string
	body    string
	trailer string
	reset   http2.ErrCode // or noReset
}

const noReset = http2.ErrCode(0xffff)

// answer reads up to the end of a stream, and what else ends it if that follows at once.
func (p *peer) answer(id uint32) answer {
	p.t.Helper()
	a := answer{reset: noReset}
	for {
		switch f := p.next().(type) {
		case nil:
			p.t.Fatalf("stream %d: the connection has ended, after %+v", id, a)
		case *http2.GoAwayFrame:
			p.t.Fatalf("stream %d: %v %q", id, f.ErrCode, f.DebugData())
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if a.status != "" {
				a.trailer = f.Fields[0].Name + ": " + f.Fields[0].Value
			} else if s := f.PseudoValue("status"); s[0] != '1' {
				a.status = s
			}
			if f.StreamEnded() {
				return a
			}
		case *http2.DataFrame:
			if f.StreamID != id {
				continue
			}
			a.body += string(f.Data())
			if f.StreamEnded() {
				return a
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				a.reset = f.ErrCode
				return a
			}
		}
	}
}

// want reads an answer with 200.
func (p *peer) want(id uint32, body string) {
	p.t.Helper()
	if a := p.answer(id); a.status != "200" || a.body != body || a.reset != noReset {
		p.t.Errorf("stream %d: got %+v, want %q", id, a, body)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Write(b)
}
