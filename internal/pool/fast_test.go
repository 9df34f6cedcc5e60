package pool

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

// TestChoice proves which engine serves what.
func TestChoice(t *testing.T) {
	tests := []struct {
		address, protocol, engine string
		fast                      bool
	}{
		{"http://a", Auto, EngineFast, true},
		{"http://a", Auto, "", true},
		{"http://a", H1, EngineFast, true},
		{"https://a", Auto, EngineFast, true},
		{"https://a", H1, EngineFast, true},
		{"http://a", Auto, EngineStd, false},
		{"https://a", Auto, EngineStd, false},
		{"https://a", H2, EngineFast, false},
		{"http://a", H2C, EngineFast, false},
		{"http://[fe80::1%25eth0]", Auto, EngineFast, false}, // a zone does not go into Host
		{"http://b%C3%BCcher.example", Auto, EngineFast, false},
	}
	for _, tt := range tests {
		l := linkOf(tt.protocol)
		l.Engine = tt.engine
		m := member1(t, tt.address, l)
		if got := m.Endpoint.fast.client(false) != nil; got != tt.fast {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
}

// secureAgent is an agent over TLS that says which version of HTTP it was asked by. Its
// upgrades echo.
func secureAgent(t *testing.T, protocols *atomic.Pointer[[]string]) (string, *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Upgrade") == "" {
			_, _ = fmt.Fprint(w, r.Proto, " ", string(body))
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.TLS.Clone()
		c.NextProtos = *protocols.Load()
		return c, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	cfg := TLSConfig()
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(s.Certificate())
	return s.URL, cfg
}

// TestHandshakeChooses proves that the version of HTTP is the one that the handshake
// chose, with every new connection, that no body is lost when the engine changes, and
// that upgrades work whatever it chose.
func TestHandshakeChooses(t *testing.T) {
	var protocols atomic.Pointer[[]string]
	address, cfg := secureAgent(t, &protocols)
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, atHand := range []bool{false, true} {
		l := link()
		l.TLS, l.MaxIdle = cfg, 16
		m := member1(t, address, l)
		p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/1.1", "HTTP/2.0"} {
			if want == "HTTP/2.0" {
				protocols.Store(&[]string{"h2", "http/1.1"})
			} else {
				protocols.Store(&[]string{"http/1.1"})
			}
			for got := ""; got != want+" the body"; {
				// Connections are closed when they are idle, which may be a little later.
				m.Endpoint.engine.(*std).main.CloseIdleConnections()
				if f := m.Endpoint.fast; f != nil {
					f.shut()
					f.wait()
					m.Endpoint.fast = newFast(at, l, m.Endpoint.engine.(*std))
				}
				x := exchange(t, "POST", "/", strings.NewReader("the body"))
				if atHand {
					x.SetBody([]byte("the body"))
				}
				var err error
				if _, got, err = ask(t, p, x); err != nil || !strings.HasSuffix(got, " the body") {
					t.Fatalf("at hand %t, %d: got %q, %v, want %s", atHand, i, got, err, want)
				}
			}
			x := exchange(t, "GET", "/", nil)
			x.Request.Header.Set("Upgrade", "echo")
			resp, err := p.Handle(x)
			if err != nil || resp.StatusCode != 101 {
				t.Fatalf("upgrade: got %v, %v", resp, err)
			}
			rw := resp.Body.(io.ReadWriteCloser)
			_, _ = io.WriteString(rw, "hello\n")
			if line, err := bufio.NewReader(rw).ReadString('\n'); err != nil || line != "hello\n" {
				t.Errorf("upgrade: got %q, %v", line, err)
			}
			_ = rw.Close()
		}
	}
}

// TestManyAtOnce proves that exchanges do not disturb each other, whatever becomes of
// them: tries, connections, headers and buffers are used again.
func TestManyAtOnce(t *testing.T) {
	p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Echo", r.Header.Get("X-Echo"))
		switch r.URL.Path {
		case "/silent":
			<-r.Context().Done()
		case "/cut":
			_, _ = w.Write(b)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/stream":
			for _, c := range b {
				_, _ = w.Write([]byte{c})
				_ = http.NewResponseController(w).Flush()
			}
		default:
			_, _ = w.Write(b)
		}
	}), link())
	paths := []string{"/", "/stream", "/cut", "/silent", "/unread", "/twice"}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 60 {
				one(t, p, paths[(g+i)%len(paths)], strings.Repeat(fmt.Sprint(g, "-", i, " "), 1+i*20), i%2 == 0)
			}
		})
	}
	all.Wait()
	one(t, p, "/", "the last", true)
	if n := len(p.tries.free); (n > 0) != (chosen == EngineFast) {
		t.Errorf("%d tries are kept for another exchange", n)
	}
}

// one makes an exchange of the kind that path says, and checks that everything in the
// answer is its own.
func one(t *testing.T, p *Pool, path, body string, atHand bool) {
	x := exchange(t, "POST", path, strings.NewReader(body))
	defer x.Finish(airside.Outcome{}) // after the answer was closed, as the edge does
	if atHand {
		x.SetBody([]byte(body))
	}
	echo := body[:min(len(body), 20)]
	x.Request.Header.Set("X-Echo", strings.TrimSpace(echo))
	ctx, cancel := context.WithCancel(x.Context())
	defer cancel()
	x.Request = x.Request.WithContext(ctx)
	if path == "/silent" {
		defer time.AfterFunc(time.Millisecond, cancel).Stop()
	}
	resp, err := p.Handle(x)
	if err != nil {
		if path != "/silent" {
			t.Errorf("%s: %v", path, err)
		}
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("X-Echo"); got != strings.TrimSpace(echo) {
		t.Errorf("%s: got header %q, want %q", path, got, echo)
	}
	if path == "/unread" {
		return
	}
	b, err := readAll(resp.Body, len(body)%2 == 0)
	if path == "/cut" {
		wantCode(t, err, airside.UpstreamFailed)
	} else if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	if string(b) != body {
		t.Errorf("%s: got %d bytes, want %d", path, len(b), len(body))
	}
	if path == "/twice" {
		_ = resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("reading a closed answer: got no error")
		}
	}
}

// TestTrailersOnce proves that a request with trailers, whose body was begun, is not sent
// over another connection: who sent it may still look at them.
func TestTrailersOnce(t *testing.T) {
	x := exchange(t, "PUT", "/", strings.NewReader("a"))
	x.Request.Trailer = http.Header{"X-A": nil}
	tr := &try{x: x}
	tr.trailed = true
	if _, ok := tr.replay(); ok {
		t.Error("got a second body")
	}
}

// TestDropped proves that dropped says of the headers that are about the connection what
// hopByHop says, and of the others what the engine writes.
func TestDropped(t *testing.T) {
	for _, k := range slices.Concat(hopByHop[:], []string{"Te", "Host", "Content-Length"}) {
		if !dropped(k) {
			t.Errorf("%s is sent on", k)
		}
	}
	for _, k := range []string{"Accept", "User-Agent", "Expect", "Authorization", "Trailers", "X-Idempotency-Key"} {
		if dropped(k) {
			t.Errorf("%s is not sent on", k)
		}
	}
}

// TestAnswerLeftOpen proves that a place is given back though nobody closes the answer: a
// policy may panic once it has it.
func TestAnswerLeftOpen(t *testing.T) {
	address, err := url.Parse(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an answer that nobody reads") }))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(address, link())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := New(Settings{Members: []Member{{Endpoint: e, Weight: 1}}, Host: HostUpstream})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange(t, "GET", "/", nil)
	if _, err := p.Handle(x); err != nil {
		t.Fatal(err)
	}
	if e.Active() != 1 {
		t.Fatalf("%d exchanges are under way, want 1", e.Active())
	}
	x.Finish(airside.Outcome{})
	if e.Active() != 0 {
		t.Errorf("%d places are still taken", e.Active())
	}
}
