package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// An over is what connections stand on: TCP, or TLS on it.
type over struct {
	name   string
	serve  func(*net.TCPConn) net.Conn
	change func(*Settings)
}

func overs() []over {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS() // for its certificate
	s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	agents := &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}
	clients := &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	return []over{
		{"TCP", func(c *net.TCPConn) net.Conn { return c }, func(*Settings) {}},
		{"TLS", func(c *net.TCPConn) net.Conn { return tls.Server(c, agents) }, func(s *Settings) {
			dial := s.Dial
			s.Dial = func(ctx context.Context) (net.Conn, error) {
				c, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				k := tls.Client(c, clients)
				return k, k.HandshakeContext(ctx)
			}
		}},
	}
}

// answers calls f for every request that comes.
func answers(c net.Conn, f func()) {
	b := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(b)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		f()
	}
}

// readExactly reads the body of an answer into one large buffer, so that nothing is
// read ahead.
func readExactly(t *testing.T, c *Client, method string) string {
	t.Helper()
	a := &Answer{}
	if err := c.Do(t.Context(), &Trip{}, request(method), a); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	b, n := make([]byte, 1<<20), 0
	for {
		m, err := a.Body.Read(b[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return string(b[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSurplus proves that what an agent sends beyond its answer answers nobody, however
// soon the next request comes and whatever it is, and that it costs that request
// nothing but a connection.
func TestSurplus(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	first := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long)
	const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
	for _, o := range overs() {
		for _, method := range []string{"GET", "POST"} {
			t.Run(o.name+" "+method, func(t *testing.T) {
				var dialed, asked atomic.Int64
				wrote := make(chan struct{}, 8)
				c := open(t, agent(t, func(tc *net.TCPConn) {
					k := o.serve(tc)
					answers(k, func() {
						if asked.Add(1)%2 == 1 {
							_, _ = io.WriteString(k, first+stray)
						} else {
							_, _ = io.WriteString(k, fine)
						}
						wrote <- struct{}{}
					})
				}), ways[0].wrap, o.change, counted(&dialed))
				for i := range 4 {
					want := "ok"
					if i%2 == 0 {
						want = long
					}
					if got := readExactly(t, c, method); got != want {
						t.Fatalf("exchange %d got %.20q of %d bytes, want %.20q of %d", i+1, got, len(got), want, len(want))
					}
					<-wrote
				}
				if got := dialed.Load(); got != 3 {
					t.Errorf("got %d connections, want 3", got)
				}
			})
		}
	}
}

// TestSilence proves that a connection on which nothing has come is used again, at once.
func TestSilence(t *testing.T) {
	for _, o := range overs() {
		t.Run(o.name, func(t *testing.T) {
			var dialed atomic.Int64
			c := open(t, agent(t, func(tc *net.TCPConn) {
				k := o.serve(tc)
				answers(k, func() { _, _ = io.WriteString(k, fine) })
			}), ways[0].wrap, o.change, counted(&dialed))
			for range 8 {
				if _, body, err := ask(t, c, request("POST")); err != nil || body != "ok" {
					t.Fatalf("got %q, %v", body, err)
				}
			}
			if got := dialed.Load(); got != 1 {
				t.Errorf("got %d connections, want 1", got)
			}
		})
	}
}

// TestStaleOnes proves that a request passes over all connections that have gone while
// they were idle, and takes the one that has not.
func TestStaleOnes(t *testing.T) {
	const conns = 4
	all := make(chan struct{})
	var asked, dialed atomic.Int64
	gone := make(chan struct{}, conns)
	c := open(t, agent(t, func(tc *net.TCPConn) {
		mine := int64(0)
		requests(func(c *net.TCPConn, _ *http.Request, _ string) bool {
			if mine == 0 {
				if mine = asked.Add(1); mine == conns {
					close(all)
				}
				<-all
			}
			_, _ = io.WriteString(c, fine)
			return mine == 1
		})(tc)
		if mine > 1 {
			_ = tc.CloseWrite()
			gone <- struct{}{}
			hold(tc)
		}
	}), ways[0].wrap, counted(&dialed))
	done := make(chan error, conns)
	for range conns {
		go func() {
			_, _, err := ask(t, c, request("POST"))
			done <- err
		}()
	}
	for range conns {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for range conns - 1 {
		<-gone
	}
	if _, body, err := ask(t, c, request("POST")); err != nil || body != "ok" {
		t.Fatalf("got %q, %v", body, err)
	}
	if got := dialed.Load(); got != conns {
		t.Errorf("got %d connections, want %d", got, conns)
	}
}
