package e2e

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside/airsidetest"
)

// Each test here is a client, or an agent, that once brought a gateway down: it ended
// the process, or held for ever what it had taken. That the process still runs at the
// end of a test is the better part of what it proves.

// rawH2 is a client of HTTP/2 without manners.
type rawH2 struct {
	net.Conn
	*http2.Framer
	bw *bufio.Writer
}

// dialH2 connects. Window is what the gateway may send on each stream.
func dialH2(t *testing.T, addr string, window uint32) *rawH2 {
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	bw := bufio.NewWriterSize(c, 64<<10)
	h := &rawH2{Conn: c, Framer: http2.NewFramer(bw, c), bw: bw}
	io.WriteString(bw, http2.ClientPreface)
	h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	h.WriteWindowUpdate(0, 1<<24)
	bw.Flush()
	return h
}

// deaf reads and drops whatever comes, until the connection ends.
func (h *rawH2) deaf() { io.Copy(io.Discard, h.Conn) }

// head is the head of a request, in a form that leaves no trace in the compression.
func head(method, path string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "a"}, {":path", path}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	return b.Bytes()
}

func (h *rawH2) ask(stream uint32, head []byte, body string) {
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndHeaders: true, EndStream: body == ""})
	if body != "" {
		h.WriteData(stream, true, []byte(body))
	}
}

// shortly waits for at least d, and at most twice as long.
func shortly(d time.Duration) { <-time.After(d + rand.N(d)) }

// storm runs n clients at a time, each of them a number of times.
func storm(n, times int, client func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range times {
				client()
			}
		})
	}
	wg.Wait()
}

// rawAgent answers each connection by f.
func rawAgent(t *testing.T, f func(c net.Conn, br *bufio.Reader)) string {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c, bufio.NewReaderSize(c, 64<<10))
			})
		}
	})
	t.Cleanup(func() { ln.Close() })
	return "http://" + ln.Addr().String()
}

// wantServed asks until it is served, or too long.
func wantServed(t *testing.T, g *airsidetest.Gateway, path string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, path))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %d: what the others held was not given back", resp.StatusCode)
		}
		shortly(10 * time.Millisecond)
	}
}

// The time-out of a write may ring when the handler of the stream has just returned.
func TestLateAlarmOverHTTP2(t *testing.T) {
	const timeout = 200 * time.Millisecond
	g := airsidetest.Start(t, fmt.Sprintf(`
listen: { address: '127.0.0.1:0', limits: { write_timeout: %s } }
routes: [{ path: /s, use: [{ static: { body: '%s' } }] }]
`, timeout, strings.Repeat("x", 5000)))
	request := head("GET", "/s")
	storm(20, 10, func() {
		h := dialH2(t, g.Addr, 0)
		if h == nil {
			return
		}
		defer h.Close()
		go h.deaf()
		for i := range uint32(100) {
			h.ask(2*i+1, request, "")
		}
		h.bw.Flush()
		<-time.After(timeout - 10*time.Millisecond + rand.N(30*time.Millisecond)) // around the moment in which it rings
		for i := range uint32(100) {
			h.WriteWindowUpdate(2*i+1, 1<<20)
		}
		h.bw.Flush()
		shortly(10 * time.Millisecond)
	})
	wantServed(t, g, "/s")
}

// A client may reset its stream while a 103 (Early Hints) is on its way.
func TestEarlyHintsAndResets(t *testing.T) {
	var hint strings.Builder
	hint.WriteString("HTTP/1.1 103 Early Hints\r\n")
	for i := range 100 {
		fmt.Fprintf(&hint, "X%d: a\r\n", i)
	}
	hint.WriteString("\r\n")
	answer := strings.Repeat(hint.String(), 5) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	agent := rawAgent(t, func(c net.Conn, br *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
	})
	g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", agent)
	request := head("GET", "/x")
	storm(3, 2, func() {
		h := dialH2(t, g.Addr, 1<<20)
		if h == nil {
			return
		}
		defer h.Close()
		go h.deaf()
		for i := range uint32(150) {
			h.ask(2*i+1, request, "")
			h.bw.Flush()
			<-time.After(rand.N(3 * time.Millisecond))
			h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
			if h.bw.Flush() != nil {
				return
			}
		}
	})
	wantServed(t, g, "/x")
}

// manyTrailers is the head of a request that announces so many trailers that reading
// their map takes a while, and the first piece of its body.
func manyTrailers(method string) string {
	var names strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&names, "X%d,", i)
	}
	return method + " /x HTTP/1.1\r\nHost: a\r\nTrailer: " + strings.TrimSuffix(names.String(), ",") + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
}

// sendTrailers sends a request, and after a while its end.
func sendTrailers(t *testing.T, addr, begin, end string, wait time.Duration) {
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(150 * time.Millisecond))
	io.WriteString(c, begin)
	<-time.After(500*time.Microsecond + rand.N(wait))
	io.WriteString(c, end)
	_, _ = c.Read(make([]byte, 1000)) // whatever it is
}

// The next agent is asked while the body of the try before is still read, whose end
// brings the trailers.
func TestTrailersWhileTheNextIsAsked(t *testing.T) {
	agent := rawAgent(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nok")
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		io.Copy(io.Discard, br)
	})
	g := airsidetest.Start(t, `
listen: { address: '127.0.0.1:0', limits: { headers: 128KiB } }
upstreams:
  a: { http: { url: '$1', fallback_on: [503] } }
  b: { http: { url: '$1', fallback_on: [503] } }
  c: { http: { url: '$1', fallback_on: [503] } }
routes: [{ path: /x, to: [a, b, c] }, { path: /ok, use: [{ static: { body: ok } }] }]
`, agent)
	begin := manyTrailers("POST")
	storm(4, 40, func() {
		sendTrailers(t, g.Addr, begin, "0\r\n"+strings.Repeat("Y: a\r\n", 60)+"\r\n", 8*time.Millisecond)
	})
	wantServed(t, g, "/ok")
}

// A request is sent once more over another connection while the first one still reads
// its trailers.
func TestTrailersSentOnceMore(t *testing.T) {
	agent := rawAgent(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok")
		if _, err := http.ReadRequest(br); err == nil { // breaks off the second one
			<-time.After(rand.N(3 * time.Millisecond))
		}
	})
	g := airsidetest.Start(t, "routes: [{ path: /x, to: '$1' }, { path: /ok, use: [{ static: { body: ok } }] }]\n", agent)
	begin := manyTrailers("PUT")
	storm(12, 50, func() { sendTrailers(t, g.Addr, begin, "0\r\nX1: a\r\nX2: b\r\n\r\n", 6*time.Millisecond) })
	wantServed(t, g, "/ok")
}

// Clients that leave in the moment in which the answer comes hold nothing.
func TestLeavingAsTheAnswerComes(t *testing.T) {
	answer := make([]byte, 256<<10)
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-time.After(3 * time.Millisecond)
		w.Write(answer)
	})
	g := airsidetest.Start(t, `
upstreams: { a: { http: { url: '$1', connections: { max: 50 } } } }
routes: [{ path: /x, use: [{ concurrency: { max: 40 } }], to: a }]
`, agent)
	request := head("POST", "/x")
	var wg sync.WaitGroup
	wg.Go(func() {
		storm(4, 100, func() {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			<-time.After(2*time.Millisecond + rand.N(5*time.Millisecond))
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		})
	})
	storm(2, 20, func() {
		h := dialH2(t, g.Addr, 1<<20)
		if h == nil {
			return
		}
		defer h.Close()
		go h.deaf()
		for i := range uint32(30) {
			h.ask(2*i+1, request, "hello")
		}
		h.bw.Flush()
		<-time.After(3*time.Millisecond + rand.N(20*time.Millisecond))
		for i := range uint32(30) {
			h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}
		h.bw.Flush()
	})
	wg.Wait()
	var all sync.WaitGroup
	for range 40 { // all places at once
		all.Go(func() { wantServed(t, g, "/x") })
	}
	all.Wait()
}

// A client of HTTP/2 that lets nothing be sent to it holds neither its place nor its
// stream longer than a write may take, be the answer larger or smaller than what is
// kept back.
func TestClosedWindowHoldsNothing(t *testing.T) {
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 100<<10)) })
	g := airsidetest.Start(t, `
listen: { address: '127.0.0.1:0', limits: { write_timeout: 300ms } }
routes:
  - { path: /small, use: [{ concurrency: { max: 1 } }, { static: { body: small } }] }
  - { path: /large, use: [{ concurrency: { max: 1 } }], to: '$1' }
`, agent)
	for _, path := range []string{"/small", "/large"} {
		h := dialH2(t, g.Addr, 0)
		if h == nil {
			t.FailNow()
		}
		defer h.Close()
		h.ask(1, head("GET", path), "")
		h.bw.Flush()
		wantServed(t, g, path)
		h.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			f, err := h.ReadFrame()
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				break // the connection was closed
			}
			if err != nil {
				t.Fatalf("%s: the stream is never given up", path)
			}
			if _, ok := f.(*http2.RSTStreamFrame); ok {
				break
			}
		}
	}
}

// A client that does not read what an upgraded connection brings it loses it, and its
// place goes to the next.
func TestUnreadUpgradeGivesItsPlaceBack(t *testing.T) {
	agent := rawAgent(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: flood\r\n\r\n")
		for block := make([]byte, 64<<10); ; {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	g := airsidetest.Start(t, `
listen: { address: '127.0.0.1:0', limits: { write_timeout: 300ms } }
routes: [{ path: /*, use: [{ concurrency: { max: 1 } }], to: '$1' }]
`, agent)
	deadline := time.Now().Add(30 * time.Second)
	for served := 0; served < 3; {
		c := open(t, g)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: flood\r\n\r\n")
		line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, " 101 ") {
			served++ // and reads no more
			continue
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatalf("after %d clients nobody is served any more: %s", served, line)
		}
		shortly(20 * time.Millisecond)
	}
}

// SIGHUP asks for a reload whenever it comes: while the program starts, as soon as it
// is ready, while it ends. It never ends it.
func TestHangupAtAnyTime(t *testing.T) {
	for range 5 {
		p := run(t, "shutdown: { grace: 5s }\nlisten: 127.0.0.1:0\nroutes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
		p.Process.Signal(syscall.SIGHUP)
		p.waitFor("configuration loaded", 1)
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr) // holds the end up for a moment
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\n")
		p.Process.Signal(syscall.SIGTERM)
		p.waitFor("stopping: what is under way may end", 1)
		p.Process.Signal(syscall.SIGHUP)
		fmt.Fprint(c, "Host: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("the request under way got %v, %v", resp, err)
		}
		c.Close()
		if err := p.waitEnd(10 * time.Second); err != nil {
			t.Errorf("got %v, want exit code 0", err)
		}
	}
}

// While it starts, the program waits for a file, which it gets after SIGHUP.
func TestHangupBeforeReadiness(t *testing.T) {
	agent := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer agent.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: agent.Certificate().Raw})
	pipe := filepath.Join(t.TempDir(), "ca.pem")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, file: filepath.Join(t.TempDir(), "airside.yaml"), ended: make(chan error, 1), seen: map[string]int{}}
	p.signal = sync.NewCond(&p.mu)
	p.write(fmt.Sprintf("listen: 127.0.0.1:0\nupstreams: { a: { http: { url: '%s', tls: { ca: '%s' } } } }\nroutes: [{ path: /, to: a }]\n", agent.URL, pipe))
	p.Cmd = exec.Command(bin, "run", "-c", p.file)
	p.launch()
	var over atomic.Bool
	served := make(chan struct{})
	go func() {
		defer close(served)
		for first := true; ; first = false {
			f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for who reads it
			if err != nil || over.Load() {
				f.Close()
				return
			}
			if first {
				p.Process.Signal(syscall.SIGHUP)
			}
			f.Write(authority)
			f.Close()
		}
	}()
	p.ready()
	p.waitFor("configuration loaded", 1)
	over.Store(true)
	if f, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil { // lets the writer go
		<-served
		f.Close()
	}
}
