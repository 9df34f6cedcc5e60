package h3_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/airside-gateway/airside/internal/edge/h3"
)

// dial opens a connection by hand, which is closed with the test.
func dial(t *testing.T, s *h3.Server, conf *tls.Config) *quic.Conn {
	t.Helper()
	c, err := quic.DialAddr(t.Context(), s.Addr().String(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseWithError(0, "") })
	return c
}

// head is a HEADERS frame (RFC 9114 section 7.2.2) that begins a GET.
func head(s *h3.Server, more ...string) []byte {
	var block strings.Builder
	enc := qpack.NewEncoder(&block)
	fields := append([]string{":method", "GET", ":scheme", "https", ":authority", s.Addr().String(), ":path", "/"}, more...)
	for i := 0; i < len(fields); i += 2 {
		enc.WriteField(qpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	b := quicvarint.Append(nil, 1)
	b = quicvarint.Append(b, uint64(block.Len()))
	return append(b, block.String()...)
}

// closed waits until the server has closed c, and returns its code.
func closed(t *testing.T, c *quic.Conn) http3.ErrCode {
	t.Helper()
	wait(t, c.Context().Done())
	e, ok := errors.AsType[*quic.ApplicationError](context.Cause(c.Context()))
	if !ok || !e.Remote {
		t.Fatalf("got %v, want to be told why", context.Cause(c.Context()))
	}
	return http3.ErrCode(e.ErrorCode)
}

// TestMalformed proves that what HTTP/3 forbids does not reach a handler: an upgrade
// above all.
func TestMalformed(t *testing.T) {
	var reached atomic.Bool
	s := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) }, generous)
	c := dial(t, s, insecure)
	for _, fields := range [][]string{
		{"connection", "upgrade", "upgrade", "websocket"},
		{"upgrade", "websocket"},
		{"transfer-encoding", "chunked"},
		{"host", "another"},
		{"content-length", "1", "content-length", "2"},
		{"X-Upper", "1"},
		{"x-line", "a\r\nb"},
	} {
		str, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		str.Write(head(s, fields...))
		str.Close()
		str.SetReadDeadline(time.Now().Add(patient))
		_, err = io.ReadAll(str)
		if e, ok := errors.AsType[*quic.StreamError](err); !ok || http3.ErrCode(e.ErrorCode) != http3.ErrCodeMessageError {
			t.Errorf("%v: got %v, want H3_MESSAGE_ERROR", fields, err)
		}
	}
	if reached.Load() {
		t.Error("a handler was reached")
	}
}

// TestLargeHead proves that a head may not be larger than the limit.
func TestLargeHead(t *testing.T) {
	l := generous
	l.Headers = 4 << 10
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, l)
	r := request(t, s, "GET", nil)
	r.Header.Set("X-Large", strings.Repeat("x", 5<<10))
	if resp, _ := do(t, client(t), r); resp.StatusCode != 431 {
		t.Errorf("got %d, want 431", resp.StatusCode)
	}
}

// TestIdle proves that a connection without a request is closed, even if the head of
// one has begun and never ends.
func TestIdle(t *testing.T) {
	l := generous
	l.Idle = 300 * time.Millisecond
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, l)
	for name, begun := range map[string][]byte{"nothing": nil, "half a head": head(s)[:5]} {
		c := dial(t, s, insecure)
		if begun != nil {
			str, err := c.OpenStreamSync(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			str.Write(begun)
		}
		if code := closed(t, c); code != http3.ErrCodeNoError {
			t.Errorf("%s: got %v, want H3_NO_ERROR", name, code)
		}
	}
}

// A deaf socket sends only.
type deaf struct {
	net.PacketConn
	end chan struct{}
}

func (d *deaf) ReadFrom([]byte) (int, net.Addr, error) {
	<-d.end
	return 0, nil, os.ErrDeadlineExceeded
}

func (d *deaf) SetReadDeadline(time.Time) error { return nil }

// TestHandshake proves that a handshake that does not go on is given up, and that what
// it counted for is given back.
func TestHandshake(t *testing.T) {
	gone := make(chan struct{})
	l := generous
	l.Handshake = 200 * time.Millisecond
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, l, func(c *h3.Config) {
		c.Admit = func() func() { return func() { gone <- struct{}{} } }
	})
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{udp, make(chan struct{})}
	tr := &quic.Transport{Conn: d}
	ctx, cancel := context.WithCancel(t.Context())
	dialled := make(chan error)
	go func() {
		_, err := tr.Dial(ctx, s.Addr(), insecure, nil)
		dialled <- err
	}()
	wait(t, gone)
	cancel()
	if wait(t, dialled) == nil {
		t.Error("who hears nothing has a connection")
	}
	close(d.end)
	tr.Close()
	udp.Close()
}

// TestAdmission proves that a connection too many is refused, and that one that has
// gone makes room.
func TestAdmission(t *testing.T) {
	room := make(chan struct{}, 1)
	room <- struct{}{}
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, generous, func(c *h3.Config) {
		c.Admit = func() func() {
			select {
			case <-room:
				return func() { room <- struct{}{} }
			default:
				return nil
			}
		}
	})
	c := dial(t, s, insecure)
	_, err := quic.DialAddr(t.Context(), s.Addr().String(), insecure, nil)
	if e, ok := errors.AsType[*quic.TransportError](err); !ok || e.ErrorCode != quic.ConnectionRefused {
		t.Errorf("got %v, want CONNECTION_REFUSED", err)
	}
	c.CloseWithError(0, "")
	room <- wait(t, room)
	// The refused client may have sent more than one datagram, and the last of them may
	// have found the room: it is free again when that handshake has timed out.
	for {
		c, err := quic.DialAddr(t.Context(), s.Addr().String(), insecure, nil)
		if err == nil {
			c.CloseWithError(0, "")
			return
		}
		if e, ok := errors.AsType[*quic.TransportError](err); !ok || e.ErrorCode != quic.ConnectionRefused {
			t.Fatal(err)
		}
	}
}

// TestEarlyData proves that sessions are resumed, and that nothing is taken from a
// client before it has answered the server's side of the handshake.
func TestEarlyData(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, generous)
	conf := insecure.Clone()
	tickets := make(ticketed, 10)
	conf.ClientSessionCache = &cache{tls.NewLRUClientSessionCache(1), tickets}
	conf.ServerName = "localhost"
	first := dial(t, s, conf)
	wait(t, tickets)
	first.CloseWithError(0, "")
	again, err := quic.DialAddrEarly(t.Context(), s.Addr().String(), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.CloseWithError(0, "")
	wait(t, again.HandshakeComplete())
	if state := again.ConnectionState(); state.Used0RTT || !state.TLS.DidResume {
		t.Errorf("early data %t, resumed %t, want false, true", state.Used0RTT, state.TLS.DidResume)
	}
}

type ticketed chan struct{}

type cache struct {
	tls.ClientSessionCache
	tickets ticketed
}

func (c *cache) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s != nil {
		c.tickets <- struct{}{}
	}
}

// TestSlowReader proves that a write deadline ends a write to a client that does not
// read, and that its answer does not look whole.
func TestSlowReader(t *testing.T) {
	failed := make(chan error, 1)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		ctl := http.NewResponseController(w)
		if err := ctl.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				failed <- err
				panic(http.ErrAbortHandler)
			}
		}
	}, generous)
	resp, err := client(t).RoundTrip(request(t, s, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := wait(t, failed); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes look like the whole answer", n)
	}
}

// TestSlowEnd proves the same of what quic-go sends after the handler: the rest of an
// answer, and trailers.
func TestSlowEnd(t *testing.T) {
	l := generous
	l.Write = 300 * time.Millisecond
	for _, trailers := range []bool{false, true} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if trailers {
				w.Header().Set("Trailer", "X-Sum")
				w.Header().Set("X-Sum", strings.Repeat("x", 8<<10))
			} else {
				w.Header().Set("X-Large", strings.Repeat("x", 8<<10)) // what quic-go keeps is sent at the end
			}
			io.WriteString(w, "abc")
		}, l)
		c, err := quic.DialAddr(t.Context(), s.Addr().String(), insecure, &quic.Config{InitialStreamReceiveWindow: 1, MaxStreamReceiveWindow: 1})
		if err != nil {
			t.Fatal(err)
		}
		str, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		str.Write(head(s))
		str.Close()
		if trailers {
			if code := closed(t, c); code != http3.ErrCodeInternalError {
				t.Errorf("got %v, want H3_INTERNAL_ERROR", code)
			}
		} else if _, err := io.ReadAll(&dawdler{t: t, str: str, conn: c, until: 2 * l.Write}); err == nil {
			t.Error("the answer looks whole")
		}
		c.CloseWithError(0, "")
	}
}

// A dawdler begins to read when the server must have given up.
type dawdler struct {
	t     *testing.T
	str   *quic.Stream
	conn  *quic.Conn
	until time.Duration
	begun bool
}

func (d *dawdler) Read(p []byte) (int, error) {
	if !d.begun {
		d.begun = true
		select {
		case <-time.After(d.until):
		case <-d.conn.Context().Done():
		}
	}
	return d.str.Read(p)
}

// TestShutdown proves that a server that drains tells its clients to leave, serves what
// is under way to the end, and gives its address back.
func TestShutdown(t *testing.T) {
	began, let := make(chan struct{}, 1), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first ")
		http.NewResponseController(w).Flush()
		began <- struct{}{}
		<-let
		io.WriteString(w, "last")
	}, generous)
	quiet := dial(t, s, insecure) // is not busy, and does not know of GOAWAY
	c := client(t)
	resp, err := c.RoundTrip(request(t, s, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wait(t, began)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	if code := closed(t, quiet); code != http3.ErrCodeNoError {
		t.Errorf("got %v, want H3_NO_ERROR", code)
	}
	if _, err := quic.DialAddr(t.Context(), s.Addr().String(), insecure, &quic.Config{HandshakeIdleTimeout: time.Second}); err == nil {
		t.Error("a connection was taken")
	}
	if _, err := c.RoundTripOpt(request(t, s, "GET", nil), http3.RoundTripOpt{OnlyCachedConn: true}); err == nil {
		t.Error("a request was taken after GOAWAY")
	}
	close(let)
	if b, err := io.ReadAll(resp.Body); string(b) != "first last" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if err := wait(t, down); err != nil {
		t.Error(err)
	}
	udp, err := net.ListenPacket("udp", s.Addr().String())
	if err != nil {
		t.Fatalf("the address is not free: %v", err)
	}
	udp.Close()
	if err := s.Start(); !errors.Is(err, h3.ErrEnded) {
		t.Errorf("got %v, want that it has ended", err)
	}
}

// TestClose proves that what does not end in time is cut, and told by its context.
func TestClose(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, generous)
	resp, err := client(t).RoundTrip(request(t, s, "GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the time is over", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q looks like the whole answer", b)
	}
}

// TestStartAgain proves that a server that drains can take connections again, with what
// is under way untouched.
func TestStartAgain(t *testing.T) {
	let := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		if r.Method == "POST" {
			<-let
		}
		io.WriteString(w, "done")
	}, generous)
	resp, err := client(t).RoundTrip(request(t, s, "POST", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.Retire()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if _, b := do(t, client(t), request(t, s, "GET", nil)); b != "done" {
		t.Errorf("got %q", b)
	}
	close(let)
	if b, err := io.ReadAll(resp.Body); string(b) != "done" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestConnectionClose proves that an answer that closes the connection does so: the
// client sends its next request over another.
func TestConnectionClose(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "abc")
	}, generous)
	c := dial(t, s, insecure)
	cc := (&http3.Transport{}).NewClientConn(c)
	if _, b := do(t, cc, request(t, s, "GET", nil)); b != "abc" {
		t.Errorf("got %q", b)
	}
	wait(t, c.Context().Done())
}

// TestClientLeft proves that the context of a request ends when its client cancels it,
// also while its body is read.
func TestClientLeft(t *testing.T) {
	for _, reads := range []bool{false, true} {
		began, left := make(chan struct{}), make(chan struct{})
		s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			if reads {
				io.Copy(io.Discard, r.Body)
			}
			<-r.Context().Done()
			close(left)
		}, generous)
		pr, pw := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		r := request(t, s, "POST", pr).WithContext(ctx)
		c := client(t)
		go func() {
			_, err := c.RoundTrip(r)
			ended <- err
		}()
		wait(t, began)
		cancel()
		if wait(t, ended) == nil {
			t.Error("got an answer")
		}
		wait(t, left)
		pw.Close()
	}
}
