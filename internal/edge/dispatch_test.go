package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dialTLS shakes hands with addr, offering protos.
func dialTLS(t *testing.T, addr string, protos ...string) *tls.Conn {
	t.Helper()
	c := tls.Client(connect(t, addr), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: protos})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask1 sends request over c in pieces and returns the status, 0 if there is none.
func ask1(c net.Conn, request string, piece int) int {
	for s := request; s != ""; {
		n := min(piece, len(s))
		if _, err := io.WriteString(c, s[:n]); err != nil {
			return 0
		}
		s = s[n:]
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

// fields is the head of a request, compressed.
func fields(kv ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(kv); i += 2 {
		enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
	}
	return b.Bytes()
}

// ask2 sends a request over c by HTTP/2, whose preface is sent in pieces, and returns
// status and body.
func ask2(c net.Conn, piece int, kv ...string) (status string, body []byte) {
	for s := http2.ClientPreface; s != ""; {
		n := min(piece, len(s))
		if _, err := io.WriteString(c, s[:n]); err != nil {
			return "", nil
		}
		s = s[n:]
	}
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.WriteSettings()
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: fields(kv...)})
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return status, body
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
			if f.StreamEnded() {
				return status, body
			}
		case *http2.DataFrame:
			body = append(body, f.Data()...)
			if f.StreamEnded() {
				return status, body
			}
		case *http2.GoAwayFrame:
			return status, body
		}
	}
}

// Every connection comes to the engine for the version that it speaks, however its
// first bytes arrive, and is closed if there is none.
func TestDispatch(t *testing.T) {
	only := func(h1, h2, encrypted bool) *Listener {
		l := &Listener{HTTP1: h1, HTTP2: h2}
		if encrypted {
			l.TLS = &TLS{SelfSigned: true}
		}
		return l
	}
	for _, tt := range []struct {
		name   string
		l      *Listener
		one    int    // status by HTTP/1.1
		two    string // status by HTTP/2
		no     int    // status by HTTP/1.1 of a TLS client that offers no protocol
		served bool
	}{
		{"plain, both", only(true, true, false), 200, "200", 0, false},
		{"plain, HTTP/1.1", only(true, false, false), 200, "", 0, false},
		{"plain, HTTP/2", only(false, true, false), 0, "200", 0, false},
		{"TLS, both", only(true, true, true), 200, "200", 200, true},
		{"TLS, HTTP/1.1", only(true, false, true), 200, "", 200, true},
		{"TLS, HTTP/2", only(false, true, true), 0, "200", 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := start(t, tt.l, echo)
			open := func(protos ...string) net.Conn {
				if tt.l.TLS == nil {
					return connect(t, addr)
				}
				c := tls.Client(connect(t, addr), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: protos})
				return c // its handshake may fail: then so does writing
			}
			for _, piece := range []int{1, 3, 24, 1000} {
				for _, method := range []string{"GET", "PUT", "POST", "PROPFIND", "PRI"} {
					want := tt.one
					if got := ask1(open("http/1.1"), method+" /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", piece); got != want {
						t.Errorf("%s in pieces of %d: got %d, want %d", method, piece, got, want)
					}
				}
				if got, _ := ask2(open("h2"), piece, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "localhost"); got != tt.two {
					t.Errorf("HTTP/2 in pieces of %d: got %q, want %q", piece, got, tt.two)
				}
			}
			if tt.served {
				if got := ask1(open(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000); got != tt.no {
					t.Errorf("without ALPN: got %d, want %d", got, tt.no)
				}
			}
		})
	}
}

// A client that speaks plain HTTP where TLS is served is told so.
func TestPlainOnTLS(t *testing.T) {
	_, addr := start(t, &Listener{TLS: &TLS{SelfSigned: true}}, echo)
	resp, b := raw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp.StatusCode != 400 || !strings.Contains(string(b), "https://") {
		t.Errorf("got %d %q", resp.StatusCode, b)
	}
	c := connect(t, addr)
	io.WriteString(c, "\x00garbage\r\n\r\n")
	wantClosed(t, c, 10*time.Second)
}

// Whether a request was encrypted is not for the client to say, nor is it a way
// around what holds for encrypted ones.
func TestSchemeOfHTTP2(t *testing.T) {
	for _, ours := range []bool{false, true} {
		schemeOfHTTP2(t, ours)
	}
}

func schemeOfHTTP2(t *testing.T, ours bool) {
	t.Helper()
	_, addr := start(t, &Listener{Standard: !ours, TLS: &TLS{SelfSigned: true}}, echo)
	_, plain := start(t, &Listener{Standard: !ours}, echo)
	for _, scheme := range []string{"http", "https"} {
		c := dialTLS(t, addr, "h2")
		status, body := ask2(c, 24, ":method", "GET", ":scheme", scheme, ":path", "/", ":authority", "localhost")
		var seen echoed
		if err := json.Unmarshal(body, &seen); err != nil || status != "200" || seen.Client.Scheme != "https" {
			t.Errorf("over TLS, %s: got %s %s", scheme, status, body)
		}
		if status, _ := ask2(dialTLS(t, addr, "h2"), 24, ":method", "GET", ":scheme", scheme, ":path", "/", ":authority", "other.example"); status != "421" {
			t.Errorf("over TLS, %s, for another host: got %s", scheme, status)
		}
		status, body = ask2(connect(t, plain), 24, ":method", "GET", ":scheme", scheme, ":path", "/", ":authority", "localhost")
		if err := json.Unmarshal(body, &seen); err != nil || status != "200" || seen.Client.Scheme != "http" {
			t.Errorf("in the clear, %s: got %s %s", scheme, status, body)
		}
	}
}

// Nobody holds a connection of HTTP/2 by beginning slowly, or by a head without end.
func TestSlowHTTP2(t *testing.T) {
	head := fields(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "localhost")
	for name, l := range map[string]*Listener{
		"plain": {Limits: strict()}, "TLS": {Limits: strict(), TLS: &TLS{SelfSigned: true}},
		"plain, net/http": {Limits: strict(), Standard: true}, "TLS, net/http": {Limits: strict(), Standard: true, TLS: &TLS{SelfSigned: true}},
	} {
		l.Limits.Idle = time.Minute
		_, addr := start(t, l, echo)
		for what, say := range map[string]func(w io.Writer, fr *http2.Framer){
			"nothing":        func(io.Writer, *http2.Framer) {},
			"half a preface": func(w io.Writer, _ *http2.Framer) { io.WriteString(w, http2.ClientPreface[:12]) },
			"no SETTINGS":    func(w io.Writer, _ *http2.Framer) { io.WriteString(w, http2.ClientPreface) },
			"half a head": func(w io.Writer, fr *http2.Framer) {
				io.WriteString(w, http2.ClientPreface)
				fr.WriteSettings()
				fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: head[:3]})
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				c := connect(t, addr)
				if l.TLS != nil {
					c = dialTLS(t, addr, "h2")
				}
				say(c, http2.NewFramer(c, nil))
				wantClosed(t, c, 10*time.Second)
			})
		}
		t.Run(name+", no handshake", func(t *testing.T) {
			t.Parallel()
			c := connect(t, addr)
			if l.TLS != nil {
				io.WriteString(c, "\x16\x03\x01") // a ClientHello, as far as it goes
			}
			wantClosed(t, c, 10*time.Second)
		})
	}
}

// A flood costs its client the connection, which is counted, and nobody else theirs.
func TestFloodIsCutOff(t *testing.T) {
	for name, l := range map[string]*Listener{
		"plain": {}, "TLS": {TLS: &TLS{SelfSigned: true}},
		"plain, net/http": {Standard: true}, "TLS, net/http": {Standard: true, TLS: &TLS{SelfSigned: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := start(t, l, echo)
			dial := func() net.Conn {
				if l.TLS == nil {
					return connect(t, addr)
				}
				return dialTLS(t, addr, "h2")
			}
			c := dial()
			io.WriteString(c, http2.ClientPreface)
			go func() {
				fr := http2.NewFramer(c, nil)
				fr.WriteSettings()
				var err error
				for err == nil {
					err = fr.WritePing(false, [8]byte{})
				}
			}()
			wantClosed(t, c, 20*time.Second)
			if status, _ := ask2(dial(), 24, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "localhost"); status != "200" {
				t.Errorf("another client got %q", status)
			}
			if got := s.engines.breaches.Load(); got != 1 {
				t.Errorf("%d connections were counted, want 1", got)
			}
		})
	}
}

// A connection that has said nothing yet does not hold up the end, and one that is
// about to speak is served.
func TestShutdownOfNewborn(t *testing.T) {
	s, addr := start(t, &Listener{}, echo)
	silent, late := connect(t, addr), connect(t, addr)
	io.WriteString(late, "P") // of PRI, or of POST: who knows
	ask1(connect(t, addr), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1000)
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ended <- s.Shutdown(ctx, 0)
	}()
	if got := ask1(late, "OST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 1000); got != 200 {
		t.Errorf("who had begun to speak got %d", got)
	}
	wantClosed(t, silent, 20*time.Second)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
