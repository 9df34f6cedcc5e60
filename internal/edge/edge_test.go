package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generous are limits that no test reaches by accident.
var generous = Limits{
	Headers: 64 << 10, Body: 1 << 20, Idle: time.Minute, HeaderTimeout: 10 * time.Second,
	BodyTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
}

// start serves h on l, at a free port, until the test ends.
func start(t *testing.T, l *Listener, h airside.HandlerFunc) (*Server, string) {
	t.Helper()
	return startWith(t, l, Settings{Handler: h, Log: slog.New(slog.DiscardHandler)})
}

// startWith serves as start does, with settings of the test.
func startWith(t *testing.T, l *Listener, settings Settings) (*Server, string) {
	t.Helper()
	settings.Fallback = web.Protocol{}
	s := New(settings)
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	if l.Limits == (Limits{}) {
		l.Limits = generous
	}
	if !l.HTTP1 && !l.HTTP2 {
		l.HTTP1, l.HTTP2 = true, true
	}
	apply(t, s, l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx, 0); err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
	return s, s.Addrs()[l.Address].String()
}

func apply(t *testing.T, s *Server, ls ...*Listener) {
	t.Helper()
	c, err := s.Prepare(ls)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
}

// echo answers with what the handler saw.
func echo(x *airside.Exchange) (*http.Response, error) {
	b, err := json.Marshal(map[string]any{
		"host": x.Request.Host, "uri": x.Request.URL.RequestURI(), "header": x.Request.Header,
		"client": x.Client, "path": x.Request.URL.Path,
	})
	if err != nil {
		return nil, err
	}
	return web.Response(x, 200, http.Header{"Content-Type": {"application/json"}}, b), nil
}

type echoed struct {
	Host, URI, Path string
	Header          http.Header
	Client          airside.Client
}

// raw sends bytes to addr and returns the first answer with its body.
func raw(t *testing.T, addr, request string) (*http.Response, []byte) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer to %q: %v", request, err)
	}
	return resp, b
}

func TestCanonicalRequest(t *testing.T) {
	_, addr := start(t, &Listener{}, echo)
	for _, tt := range []struct {
		name, line, headers string
		status              int
		uri, host           string
	}{
		{"plain", "GET /a/b?x=1", "Host: Example.COM:80", 200, "/a/b?x=1", "example.com:80"},
		{"encoded letter", "GET /%61/%7eb", "Host: h", 200, "/a/~b", "h"},
		{"empty query stays", "GET /a?", "Host: h", 200, "/a?", "h"},
		{"absolute form", "GET http://h/a?x", "Host: h", 200, "/a?x", "h"},
		{"absolute form without a path", "GET http://h", "Host: h", 200, "/", "h"},
		{"absolute form with a user", "GET http://u:p@h/a", "Host: h", 400, "", ""},
		{"encoded slash", "GET /a%2fb", "Host: h", 400, "", ""},
		{"dot segments", "GET /a/../b", "Host: h", 400, "", ""},
		{"dot segments with parameters", "GET /a/..;/b", "Host: h", 400, "", ""},
		{"double slash", "GET //a", "Host: h", 400, "", ""},
		{"fragment", "GET /a#b", "Host: h", 400, "", ""},
		{"asterisk", "OPTIONS *", "Host: h", 400, "", ""},
		{"connect", "CONNECT h:443", "Host: h:443", 405, "", ""},
		{"no host", "GET /", "X: y", 400, "", ""},
		{"two hosts", "GET /", "Host: a\r\nHost: b", 400, "", ""},
		{"user in host", "GET /", "Host: u@h", 400, "", ""},
		{"two authorizations", "GET /", "Host: h\r\nAuthorization: a\r\nAuthorization: b", 400, "", ""},
		{"alias of a forwarding header", "GET /", "Host: h\r\nX_Forwarded_For: 1.1.1.1", 400, "", ""},
		{"connection names an end-to-end header", "GET /", "Host: h\r\nAuthorization: a\r\nConnection: authorization", 400, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, b := raw(t, addr, tt.line+" HTTP/1.1\r\n"+tt.headers+"\r\n\r\n")
			if resp.StatusCode != tt.status {
				t.Fatalf("got %d %s, want %d", resp.StatusCode, b, tt.status)
			}
			if tt.status != 200 {
				return
			}
			var got echoed
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if got.URI != tt.uri || got.Host != tt.host {
				t.Errorf("got %s %s, want %s %s", got.Host, got.URI, tt.host, tt.uri)
			}
		})
	}
}

func TestForwardedHeaders(t *testing.T) {
	spoofed := "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-Ip: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n"
	for _, tt := range []struct {
		name                   string
		trust                  []netip.Prefix
		client, chain          string
		proto, host, requestID string
	}{
		{"from anybody", nil, "127.0.0.1", "127.0.0.1", "http", "h", ""},
		{"from a trusted proxy", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "6.6.6.6", "6.6.6.6, 127.0.0.1", "https", "evil", "mine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := start(t, &Listener{Trust: tt.trust}, echo)
			resp, b := raw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n"+spoofed+"\r\n")
			var got echoed
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatalf("%d %s: %v", resp.StatusCode, b, err)
			}
			want := []string{tt.client, tt.chain, tt.proto, tt.host}
			have := []string{got.Client.Addr, got.Header.Get("X-Forwarded-For"), got.Header.Get("X-Forwarded-Proto"), got.Header.Get("X-Forwarded-Host")}
			if fmt.Sprint(have) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", have, want)
			}
			if got.Header.Get("X-Real-Ip") != "" || got.Header.Get("Forwarded") != "" {
				t.Errorf("forwarding headers of the client got through: %v", got.Header)
			}
			id := got.Header.Get("X-Request-Id")
			if tt.requestID != "" && id != tt.requestID || tt.requestID == "" && (id == "mine" || len(id) != 32) || resp.Header.Get("X-Request-Id") != id {
				t.Errorf("got request id %q, answered %q", id, resp.Header.Get("X-Request-Id"))
			}
		})
	}
}

func TestProxyLines(t *testing.T) {
	v2 := string(signature) + "\x21\x11\x00\x0c" + "\x09\x08\x07\x06" + "\x7f\x00\x00\x01" + "\x12\x34" + "\x00\x50"
	for _, tt := range []struct{ name, line, client string }{
		{"version 1", "PROXY TCP4 9.8.7.6 127.0.0.1 4660 80\r\n", "9.8.7.6"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::1 ::1 4660 80\r\n", "2001:db8::1"},
		{"version 1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"version 2", v2, "9.8.7.6"},
		{"version 2, local", string(signature) + "\x20\x00\x00\x00", "127.0.0.1"},
		{"none", "", ""},
		{"too long", "PROXY TCP4 " + strings.Repeat("9", 200) + "\r\n", ""},
		{"family that lies", "PROXY TCP6 9.8.7.6 127.0.0.1 4660 80\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := start(t, &Listener{ProxyProtocol: true, Trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, echo)
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(c, "%sGET / HTTP/1.1\r\nHost: h\r\n\r\n", tt.line)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if tt.client == "" {
				if err == nil && resp.StatusCode == 200 {
					t.Error("served without a valid PROXY line")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got echoed
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if got.Client.Addr != tt.client {
				t.Errorf("got client %s, want %s", got.Client.Addr, tt.client)
			}
		})
	}
}

func FuzzProxyLine(f *testing.F) {
	f.Add([]byte("PROXY TCP4 9.8.7.6 127.0.0.1 4660 80\r\n"))
	f.Add(append(signature, "\x21\x21\x00\x24"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readProxyLine(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && a != nil {
			if _, perr := netip.ParseAddrPort(a.String()); perr != nil {
				t.Errorf("%q gave the address %v", b, a)
			}
		}
	})
}

// A body that the client breaks is the client's fault, however it is broken.
func TestBrokenBodies(t *testing.T) {
	limits := generous
	limits.Body, limits.BodyTimeout = 100, 200*time.Millisecond
	_, addr := start(t, &Listener{Limits: limits}, func(x *airside.Exchange) (*http.Response, error) {
		if _, err := io.ReadAll(x.Request.Body); err != nil {
			return nil, fmt.Errorf("reading: %w", err)
		}
		return web.Response(x, 200, http.Header{}, nil), nil
	})
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"chunks that are none", "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"too large by length", "Content-Length: 101\r\n\r\n", 413},
		{"too large by chunks", "Transfer-Encoding: chunked\r\n\r\nc8\r\n" + strings.Repeat("x", 200) + "\r\n0\r\n\r\n", 413},
		{"stops", "Content-Length: 10\r\n\r\nabc", 408},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, b := raw(t, addr, "POST / HTTP/1.1\r\nHost: h\r\n"+tt.body)
			if resp.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d", resp.StatusCode, b, tt.status)
			}
		})
	}
}

// A request that does not say where it ends is the last one of its connection.
func TestUnknownEnd(t *testing.T) {
	_, addr := start(t, &Listener{}, echo)
	resp, _ := raw(t, addr, "POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if !resp.Close {
		t.Error("the connection stays open")
	}
}

// A small body that nobody read does not cost the connection.
func TestUnreadBodyKeepsConnection(t *testing.T) {
	_, addr := start(t, &Listener{}, func(*airside.Exchange) (*http.Response, error) {
		return nil, airside.Errorf(airside.Denied, "no")
	})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	for range 3 {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 403 {
			t.Fatalf("got %d, %v", resp.StatusCode, err)
		}
	}
}

func TestPanicIsInternal(t *testing.T) {
	_, addr := start(t, &Listener{}, func(*airside.Exchange) (*http.Response, error) { panic("the inside") })
	resp, b := raw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp.StatusCode != 500 || bytes.Contains(b, []byte("inside")) {
		t.Errorf("got %d %s", resp.StatusCode, b)
	}
}

// A client that does not read is cut off, and its exchange ends.
func TestSlowReader(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("h2=", h2), func(t *testing.T) {
			limits := generous
			limits.WriteTimeout = 200 * time.Millisecond
			ended := make(chan error, 1)
			_, addr := start(t, &Listener{Limits: limits}, func(x *airside.Exchange) (*http.Response, error) {
				x.OnDone(func(o airside.Outcome) { ended <- o.Err })
				resp := web.Response(x, 200, http.Header{}, nil)
				resp.Body, resp.ContentLength = io.NopCloser(endless{}), -1
				return resp, nil
			})
			p := new(http.Protocols)
			p.SetHTTP1(!h2)
			p.SetUnencryptedHTTP2(h2)
			tr := &http.Transport{Protocols: p}
			defer tr.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if err := <-ended; err == nil {
				t.Error("the exchange ended well")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestConnectionLimit(t *testing.T) {
	limits := generous
	limits.Connections = 2
	_, addr := start(t, &Listener{Limits: limits}, echo)
	var open []net.Conn
	for range 2 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
	}
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the third connection got %d bytes, %v; want it closed", n, err)
	}
	_ = open
}

// A listener whose settings change keeps its connections, whatever changed.
func TestChangeKeepsConnections(t *testing.T) {
	l := &Listener{Address: "127.0.0.1:0", HTTP1: true, Limits: generous}
	s, addr := start(t, l, echo)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for i := range 4 {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		io.Copy(io.Discard, resp.Body)
		next := *l
		next.Limits.Body += int64(i)
		next.Limits.Headers += i * 1000 // another engine
		apply(t, s, &next)
		if got := s.Addrs()[l.Address].String(); got != addr {
			t.Fatalf("the address moved to %s", got)
		}
	}
}

func TestMisdirected(t *testing.T) {
	_, addr := start(t, &Listener{TLS: &TLS{SelfSigned: true}}, echo)
	for host, want := range map[string]int{"localhost": 200, "LOCALHOST:1": 200, "other": 421} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.StatusCode != want {
			t.Errorf("host %s got %d, want %d", host, resp.StatusCode, want)
		}
	}
}

func TestAEADOnly(t *testing.T) {
	_, addr := start(t, &Listener{TLS: &TLS{SelfSigned: true}}, echo)
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		conf := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{s.ID}, InsecureSkipVerify: true}
		c, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			c.Close()
			if !strings.Contains(s.Name, "GCM") && !strings.Contains(s.Name, "POLY1305") {
				t.Errorf("%s was accepted", s.Name)
			}
		}
	}
}

// Requests on connections that are idle when the server stops are answered, with
// the advice to go elsewhere.
func TestShutdownLosesNothing(t *testing.T) {
	l := &Listener{Address: "127.0.0.1:0", HTTP1: true, Limits: generous}
	s := New(Settings{Handler: airside.HandlerFunc(echo), Fallback: web.Protocol{}, Log: slog.New(slog.DiscardHandler)})
	apply(t, s, l)
	addr := s.Addrs()[l.Address].String()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	ask := func() *http.Response {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		return resp
	}
	ask()
	s.Drain()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Shutdown(context.Background(), 20*time.Second); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	if resp := ask(); !resp.Close {
		t.Error("the last answer does not say close")
	}
	wg.Wait() // ends as soon as the connection is gone, long before the linger is over
}
