package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// brokenBodies are the ways in which a client can break its own request.
var brokenBodies = []struct{ name, head, body string }{
	{"chunk size that is none", "Transfer-Encoding: chunked", "zz\r\nabc\r\n"},
	{"negative chunk size", "Transfer-Encoding: chunked", "-1\r\nabc\r\n"},
	{"chunk without its end", "Transfer-Encoding: chunked", "3\r\nabcdef\r\n"},
	{"chunk size too large", "Transfer-Encoding: chunked", "fffffffffffffffff\r\nabc\r\n"},
	{"ends within a chunk", "Transfer-Encoding: chunked", "5\r\nab"},
	{"ends between chunks", "Transfer-Encoding: chunked", "3\r\nabc\r\n"},
	{"ends within the length", "Content-Length: 100", "abc"},
	{"sends nothing of its length", "Content-Length: 100", ""},
	{"ends within the trailers", "Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nX-A: b"},
}

// However a client breaks its request, and however it leaves, it is told that it is
// to blame, or the log says so; the agent never is.
func TestClientFaults(t *testing.T) {
	agent := airsidetest.Upstream(t, airsidetest.Echo)
	g := airsidetest.Start(t, `
listen: { address: "127.0.0.1:0", limits: { body_timeout: 300ms } }
admin: off
upstreams: { agent: { http: { url: '$1', retry: {} } } }
routes: [{ path: /*, to: [agent, '$1'] }]
`, agent)
	leave := map[string]func(*net.TCPConn){
		"half-closes": func(c *net.TCPConn) { c.CloseWrite() },
		"closes":      func(c *net.TCPConn) { c.Close() },
		"resets":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"stops":       func(*net.TCPConn) {},
	}
	n := 0
	for _, b := range brokenBodies {
		for how, leave := range leave {
			n++
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", n, b.head, b.body)
			leave(c.(*net.TCPConn))
			path := fmt.Sprintf("/%d", n)
			line := g.WaitExchange(func(l airsidetest.Line) bool { return l["path"] == path })
			if status := line["status"].(float64); status < 400 || status >= 500 {
				t.Errorf("%s and %s: logged as %v (%v)", b.name, how, status, line["err"])
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && (resp.StatusCode < 400 || resp.StatusCode > 499) {
				t.Errorf("%s and %s: got %d", b.name, how, resp.StatusCode)
			}
			c.Close()
		}
	}
	t.Logf("%d broken requests", n)
}

// Heads that net/http refuses by itself are 4xx as well.
func TestBrokenHeads(t *testing.T) {
	g := airsidetest.Start(t, "listen: { address: '127.0.0.1:0', limits: { header_timeout: 1s } }\nadmin: off\nroutes: [{ path: /*, to: '$1' }]\n", airsidetest.Upstream(t, airsidetest.Echo))
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\nBad Header: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
		"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
		"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
		"nonsense\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n",
	} {
		l := &line{t: t, addr: g.Addr}
		status, body := l.ask(head)
		l.close()
		if status != 0 && (status < 400 || status >= 500) && status != 505 && status != 501 {
			t.Errorf("%.60q got %d %s", head, status, body)
		}
	}
}

// A hostile agent cannot make the gateway answer more than once, or send headers of
// its own choice to another client.
func TestAgentFaults(t *testing.T) {
	answers := map[string]string{
		"no status line":          "nonsense\r\n\r\n",
		"both lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"negative length":         "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
		"endless head":            "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10),
		"closes at once":          "",
		"head without its end":    "HTTP/1.1 200 OK\r\nContent-Le",
		"switches without asking": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						io.Copy(io.Discard, req.Body)
					}
					io.WriteString(c, answer)
					c.Close()
				}
			}()
			defer func() { ln.Close(); <-served }()
			g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", "http://"+ln.Addr().String())
			l := &line{t: t, addr: g.Addr}
			defer l.close()
			status, body := l.ask("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
			if status != 502 || !strings.Contains(string(body), `"code":"upstream_failed"`) {
				t.Errorf("got %d %s, want 502", status, body)
			}
			if strings.Contains(string(body), "127.0.0.1") {
				t.Errorf("the answer names the agent's address: %s", body)
			}
		})
	}
}
