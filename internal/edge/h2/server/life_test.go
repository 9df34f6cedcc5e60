package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestWindows proves that no more is sent than the client lets, on the stream and on the
// connection, and that it goes on when the client lets it.
func TestWindows(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 100_000)) })
	p := s.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	read := func(want int) {
		t.Helper()
		for got := 0; got < want; {
			switch f := p.next().(type) {
			case *http2.DataFrame:
				if got += len(f.Data()); got > want {
					t.Fatalf("got %d bytes, want %d", got, want)
				}
			case *http2.MetaHeadersFrame:
			default:
				t.Fatalf("got %v", f)
			}
		}
		p.WritePing(false, [8]byte{1}) // nothing else comes before the answer
		if f, ok := p.next().(*http2.PingFrame); !ok {
			t.Fatalf("got %v, want the answer to the PING", f)
		}
	}
	p.open(1, true, get...)
	read(10)
	p.WriteWindowUpdate(1, 90)
	read(90)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	read(990)
	p.WriteWindowUpdate(1, 1<<20)
	read(65535 - 1090) // of the connection
	p.WriteWindowUpdate(0, 1<<20)
	if a := p.answer(1); len(a.body) != 100_000-65535 {
		t.Errorf("got %d bytes more", len(a.body))
	}
}

// TestBodyWindow proves that a client may send as much as was promised and nobody has
// read, and is cut off if it sends more.
func TestBodyWindow(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil && n == 64<<10 {
			io.WriteString(w, "all")
		}
	}, func(c *Config) { c.StreamWindow, c.ConnWindow = 64<<10, 128<<10 })
	p := s.dial()
	p.open(1, false, post...)
	for range 4 {
		p.WriteData(1, false, make([]byte, 16<<10))
	}
	p.open(3, false, post...)
	for range 4 {
		p.WriteData(3, false, make([]byte, 16<<10))
	}
	p.WritePing(false, [8]byte{})
	if f, ok := p.next().(*http2.PingFrame); !ok {
		t.Fatalf("got %v", f)
	}
	release <- struct{}{}
	release <- struct{}{}
	p.WriteData(1, true, nil)
	p.want(1, "all")
	p.WriteData(3, true, nil)
	p.want(3, "all")
	p.open(5, false, post...)
	for range 5 {
		p.WriteData(5, false, make([]byte, 16<<10))
	}
	if a := p.answer(5); a.reset != http2.ErrCodeFlowControl {
		t.Errorf("got %+v", a)
	}
	for id := uint32(7); id < 13; id += 2 { // each less than a stream may, all more than the connection
		p.open(id, false, post...)
		for range 3 {
			p.WriteData(id, false, make([]byte, 16<<10))
		}
	}
	if f, ok := p.next().(*http2.GoAwayFrame); !ok || f.ErrCode != http2.ErrCodeFlowControl {
		t.Errorf("got %v", f)
	}
}

// TestReset proves that a stream that the client resets ends the context of its
// request and what its handler waits for, and nothing else.
func TestReset(t *testing.T) {
	began, ended := make(chan struct{}, 3), make(chan error, 3)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" && r.RequestURI == "/a" {
			echo(w, r)
			return
		}
		began <- struct{}{}
		switch r.RequestURI {
		case "/context":
			<-r.Context().Done()
			ended <- r.Context().Err()
		case "/read":
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		case "/write":
			_, err := w.Write(make([]byte, 1<<20))
			ended <- err
		}
	})
	p := s.dial()
	id := uint32(1)
	for _, path := range []string{"/context", "/read", "/write"} {
		p.open(id, false, post[0], post[1], ":path: "+path, post[3])
		<-began
		p.WriteRSTStream(id, http2.ErrCodeCancel)
		if err := <-ended; err == nil {
			t.Errorf("%s: no error", path)
		}
		id += 2
	}
	p.WriteWindowUpdate(0, 1<<20)
	p.open(id, true, get...)
	p.want(id, "")
}

// TestLeave proves that the end of a connection ends all its requests.
func TestLeave(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	p := s.dial()
	for i := range 5 {
		p.open(uint32(2*i+1), true, get...)
		<-began
	}
	p.conn.Close()
	for range 5 {
		<-ended
	}
}

// TestTooMany proves that a stream beyond the limit is refused in a way that says that
// it can be tried again, and that streams which were reset count until their handlers
// have returned, if there are very many.
func TestTooMany(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-release }, func(c *Config) { c.Streams = 2 })
	p := s.dial()
	refused := func(id uint32) {
		t.Helper()
		p.open(id, true, get...)
		if f, ok := p.next().(*http2.RSTStreamFrame); !ok || f.StreamID != id || f.ErrCode != http2.ErrCodeRefusedStream {
			t.Errorf("got %v", f)
		}
	}
	p.open(1, true, get...)
	p.open(3, true, get...)
	refused(5)
	p.WritePing(false, [8]byte{}) // their handlers have begun
	p.next()
	p.WriteRSTStream(1, http2.ErrCodeCancel)
	p.WriteRSTStream(3, http2.ErrCodeCancel)
	p.open(7, true, get...)
	p.open(9, true, get...)
	p.WritePing(false, [8]byte{})
	p.next()
	p.WriteRSTStream(7, http2.ErrCodeCancel)
	refused(11)
	close(release)
	p.want(9, "")
}

// TestDrain proves that a server that is shut down tells its clients, answers what they
// have asked, and takes nothing more.
func TestDrain(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-release
		io.WriteString(w, "done")
	})
	p := s.dial()
	p.open(1, true, get...)
	<-began
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	f, ok := p.next().(*http2.GoAwayFrame)
	if !ok || f.ErrCode != http2.ErrCodeNo || f.LastStreamID != 1<<31-1 {
		t.Fatalf("got %v, want a warning", f)
	}
	p.open(3, true, get...) // was on its way
	<-began
	ping, ok := p.next().(*http2.PingFrame)
	if !ok {
		t.Fatal("there is no PING")
	}
	p.WritePing(true, ping.Data)
	if f, ok = p.next().(*http2.GoAwayFrame); !ok || f.LastStreamID != 3 {
		t.Fatalf("got %v, want the last stream", f)
	}
	p.open(5, true, get...) // is not taken
	close(release)
	seen := map[uint32]string{}
	for len(seen) < 2 {
		switch f := p.next().(type) {
		case *http2.DataFrame:
			seen[f.StreamID] += string(f.Data())
		case *http2.MetaHeadersFrame:
		default:
			t.Fatalf("got %v", f)
		}
	}
	if seen[1] != "done" || seen[3] != "done" {
		t.Errorf("got %v", seen)
	}
	p.conn.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestDrainUnheard proves that a client which does not react holds nothing up for long.
func TestDrainUnheard(t *testing.T) {
	s := serve(t, echo)
	p := s.dial()
	p.open(1, true, get...)
	p.want(1, "")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShutdownCut proves that Shutdown ends with its context, and Close ends the rest.
func TestShutdownCut(t *testing.T) {
	began := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})
	s.dial().open(1, true, get...)
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestTimes proves that who is idle, silent or does not read is cut off.
func TestTimes(t *testing.T) {
	const soon = 50 * time.Millisecond
	t.Run("idle", func(t *testing.T) {
		p := serve(t, echo, func(c *Config) { c.Idle = soon }).dial()
		if f, ok := p.next().(*http2.GoAwayFrame); !ok || f.ErrCode != http2.ErrCodeNo {
			t.Errorf("got %v", f)
		}
		if f := p.next(); f != nil {
			t.Errorf("then came %v", f)
		}
	})
	t.Run("silent", func(t *testing.T) {
		gone := make(chan struct{})
		p := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(gone)
		}, func(c *Config) { c.PingAfter, c.PingTimeout = soon, soon }).dial()
		p.open(1, true, get...)
		if f, ok := p.next().(*http2.PingFrame); !ok || f.IsAck() {
			t.Errorf("got %v", f)
		}
		<-gone
	})
	t.Run("closed window", func(t *testing.T) {
		failed := make(chan error, 1)
		p := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, 1000))
			failed <- err
			panic(http.ErrAbortHandler)
		}, func(c *Config) { c.WriteTimeout = soon }).dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.open(1, true, get...)
		if a := p.answer(1); a.reset != http2.ErrCodeCancel {
			t.Errorf("got %+v", a)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("does not read", func(t *testing.T) {
		failed := make(chan error, 1)
		p := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					failed <- err
					return
				}
			}
		}, func(c *Config) { c.WriteTimeout = soon }).dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		p.WriteWindowUpdate(0, 1<<30)
		p.open(1, true, get...)
		<-failed
	})
}

// TestDeadlines proves that a deadline ends a read or a write that is under way, and
// that one which is taken back does not.
func TestDeadlines(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Second, 20 * time.Millisecond} {
		ready := make(chan struct{})
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			ctl := http.NewResponseController(w)
			ctl.SetReadDeadline(time.Now().Add(ahead))
			if _, err := r.Body.Read(make([]byte, 2)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: got %v", err)
			}
			ctl.SetReadDeadline(time.Time{})
			close(ready)
			if _, err := r.Body.Read(make([]byte, 2)); err != nil {
				t.Errorf("reading once more: got %v", err)
			}
			ctl.SetWriteDeadline(time.Now().Add(ahead))
			if _, err := w.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("writing: got %v", err)
			}
			panic(http.ErrAbortHandler)
		})
		p := s.dial(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.open(1, false, post...)
		<-ready
		p.WriteData(1, false, []byte("xy"))
		p.answer(1)
	}
}

// TestPoison proves that who keeps a request, or what belongs to it, finds it spoiled,
// and can neither read nor write any more.
func TestPoison(t *testing.T) {
	type hoard struct {
		r      *http.Request
		header http.Header
		body   io.Reader
		w      http.ResponseWriter
		host   string
	}
	keep := make(chan hoard, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { keep <- hoard{r, r.Header, r.Body, w, r.Host} })
	p := s.dial()
	p.open(1, false, append(post, "a: b")...)
	p.answer(1)
	k := <-keep
	<-k.r.Context().Done()
	p.open(3, true, get...)
	<-keep
	const junk = "kept after its exchange"
	if k.header.Get("A") != junk || k.r.Method != junk || k.r.Header.Get("Poison") != junk || k.host != "host" {
		t.Errorf("got %v, %q, %q", k.header, k.r.Method, k.host)
	}
	if n, err := k.body.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("reading: got %d, %v", n, err)
	}
	if n, err := k.w.Write([]byte("x")); n > 0 || err == nil {
		t.Errorf("writing: got %d, %v", n, err)
	}
}

// TestUnreadHeads proves that a client which asks and does not read makes us hold no
// more than a bound.
func TestUnreadHeads(t *testing.T) {
	c := settings(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("A", strings.Repeat("b", 1000)) }, io.Discard)
	s := New(c)
	ours, theirs := net.Pipe()
	s.take(ours)
	theirs.SetWriteDeadline(time.Now().Add(patience))
	io.WriteString(theirs, http2.ClientPreface)
	p := &peer{t: t, conn: theirs, Framer: http2.NewFramer(theirs, theirs)}
	p.enc = hpack.NewEncoder(&p.buf)
	p.WriteSettings()
	held, sent := 0, 0
	for ; sent < 50_000; sent++ {
		err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*sent + 1), EndStream: true, EndHeaders: true, BlockFragment: p.block(get...)})
		if errors.Is(err, io.ErrClosedPipe) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		for c := range s.conns {
			c.mu.Lock()
			held = max(held, len(c.out))
			c.mu.Unlock()
		}
		s.mu.Unlock()
	}
	if sent == 50_000 || held > tooMuch+maxFrame {
		t.Errorf("%d requests were taken, and %d bytes held", sent, held)
	}
	theirs.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPanic proves that a handler that panics costs its stream only, and is logged.
func TestPanic(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/panic" {
			panic("oh")
		}
		echo(w, r)
	})
	p := s.dial()
	p.open(1, true, get[0], get[1], ":path: /panic", get[3])
	if a := p.answer(1); a.reset != http2.ErrCodeInternal {
		t.Errorf("got %+v", a)
	}
	p.open(3, true, get...)
	p.want(3, "")
	if got := s.log.String(); !strings.Contains(got, "a handler panicked") || !strings.Contains(got, "value=oh") {
		t.Errorf("got %q", got)
	}
}
