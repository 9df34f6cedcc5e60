package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// open connects to the plain listener.
func open(t *testing.T, g *airsidetest.Gateway) *net.TCPConn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// An upgrade that comes with a body is none: on a connection that was handed over,
// the body and what follows it could not be told apart.
func TestUpgradeWithBody(t *testing.T) {
	g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", airsidetest.Upstream(t, airsidetest.Echo))
	for range 20 {
		c := open(t, g)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: raw\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 20 {
			fmt.Fprint(c, "3\r\nabc\r\n")
		}
		fmt.Fprint(c, "0\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var seen airsidetest.Seen
		if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil || len(seen.Body) != 60 || seen.Header.Get("Upgrade") != "" {
			t.Fatalf("%v: the agent saw a body of %d bytes and upgrade %q", err, len(seen.Body), seen.Header.Get("Upgrade"))
		}
		c.Close()
	}
}

// A client that ends its side of an upgraded connection still hears the agent out.
func TestHalfCloseOfUpgrade(t *testing.T) {
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: count\r\n\r\n")
		rw.Flush()
		n, _ := io.Copy(io.Discard, io.MultiReader(io.LimitReader(rw, int64(rw.Reader.Buffered())), c))
		fmt.Fprintf(c, "got %d bytes", n)
	})
	g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", agent)
	c := open(t, g)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: count\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(c, "hello")
	c.CloseWrite()
	b, err := io.ReadAll(br)
	if err != nil || string(b) != "got 5 bytes" {
		t.Errorf("got %q, %v", b, err)
	}
}

// A trailer is not another way to send a header.
func TestTrailersAreNoHeaders(t *testing.T) {
	seen := make(chan http.Header, 1)
	agent := airsidetest.Upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		seen <- r.Trailer
	})
	g := airsidetest.Start(t, "routes: [{ path: /*, use: [{ headers: { request: { set: { X-Caller: us } } } }], to: '$1' }]\n", agent)
	for _, tt := range []struct {
		announce, send string
		status         int
		want           string
	}{
		{"X-Sum", "X-Sum: 1\r\n", 200, "1"},
		{"X-Sum", "X-Sum: 1\r\nAuthorization: forged\r\nX-Forwarded-For: 6.6.6.6\r\nX-Caller: forged\r\nX-Other: 2\r\n", 200, "1"},
		{"X-Caller", "X-Caller: forged\r\n", 400, ""},
		{"X_Caller", "X_Caller: forged\r\n", 400, ""},
		{"X-Forwarded-For", "X-Forwarded-For: 6.6.6.6\r\n", 400, ""},
		{"X-Real-Ip", "X-Real-Ip: 6.6.6.6\r\n", 400, ""},
		{"Authorization", "Authorization: forged\r\n", 400, ""},
		{"Content-Length", "Content-Length: 6\r\n", 400, ""},
	} {
		c := open(t, g)
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nTrailer: %s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n%s\r\n", tt.announce, tt.send)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.announce, resp.StatusCode, tt.status)
		}
		if resp.StatusCode == 200 {
			if got := <-seen; len(got) != 1 || got.Get("X-Sum") != tt.want {
				t.Errorf("%q: the agent saw the trailers %v", tt.send, got)
			}
		}
		c.Close()
	}
}

// A name may be a header and a trailer; each keeps its own values.
func TestHeaderAndTrailerOfOneName(t *testing.T) {
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Server-Timing")
		w.Header().Set("Server-Timing", "head")
		fmt.Fprint(w, "x")
		http.NewResponseController(w).Flush()
		w.Header().Set("Server-Timing", "tail")
	})
	g := airsidetest.Start(t, "routes: [{ path: /*, to: '$1' }]\n", agent)
	airsidetest.Each(t, func(t *testing.T, m airsidetest.Mode) {
		resp, err := g.Client(m).Get(g.URL(m, "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if h, tr := resp.Header["Server-Timing"], resp.Trailer["Server-Timing"]; fmt.Sprint(h, tr) != "[head] [tail]" {
			t.Errorf("got header %v and trailer %v", h, tr)
		}
	})
}

// A time-out also ends the wait of a policy for a body that stalls, and says so to
// the client, who is there.
func TestTimeoutWhileBodyIsAwaited(t *testing.T) {
	g := airsidetest.Start(t, `
routes:
  - { path: /transform, use: [{ timeout: 300ms }, { transform: { request: . } }], to: '$1' }
  - { path: /limits, use: [{ timeout: 300ms }, { limits: { json_depth: 9 } }], to: '$1' }
  - { path: /plain, timeout: 300ms, to: '$1' }
`, airsidetest.Upstream(t, airsidetest.Echo))
	for _, path := range []string{"/transform", "/limits", "/plain"} {
		begun := time.Now()
		l := &line{t: t, addr: g.Addr}
		status, body := l.ask("POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
		l.close()
		if took := time.Since(begun); status != 408 || took > 5*time.Second {
			t.Errorf("%s: got %d after %s: %s", path, status, took, body)
		}
	}
}

// What an agent may have done is not asked of the next one, unless it may be.
func TestFallbackRepeatsNothing(t *testing.T) {
	var first, second atomic.Int64
	broken := airsidetest.Upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		first.Add(1)
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	spare := airsidetest.Upstream(t, func(http.ResponseWriter, *http.Request) { second.Add(1) })
	g := airsidetest.Start(t, "routes: [{ path: /*, to: ['$1', '$2'] }, { path: /down/*, to: ['http://127.0.0.1:1', '$2'] }]\n", broken, spare)
	for _, tt := range []struct {
		method, path, key string
		status            int
		asked             int64
	}{
		{"POST", "/", "", 502, 0}, {"POST", "/", "k-1", 200, 1}, {"GET", "/", "", 200, 1}, {"POST", "/down/", "", 200, 1},
	} {
		second.Store(0)
		req := request(t, tt.method, g.URL(airsidetest.H1, tt.path), strings.NewReader("x"))
		if tt.key != "" {
			req.Header.Set("Idempotency-Key", tt.key)
		}
		resp, err := g.Client(airsidetest.H1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status || second.Load() != tt.asked {
			t.Errorf("%s %s key=%q: got %d, the second was asked %d times, want %d, %d", tt.method, tt.path, tt.key, resp.StatusCode, second.Load(), tt.status, tt.asked)
		}
	}
}

// Counters stay with their route, wherever it moves in the file.
func TestCountersStayOverReload(t *testing.T) {
	agent := airsidetest.Upstream(t, func(http.ResponseWriter, *http.Request) {})
	file := func(more string) string {
		return "routes:\n" + more + "  - { path: /a, use: [{ ratelimit: { limit: 1, per: 1h } }], to: '$1' }\n  - { path: /b, use: [{ ratelimit: { limit: 1, per: 1h } }], to: '$1' }\n"
	}
	g := airsidetest.Start(t, file(""), agent)
	ask := func(path string) int {
		resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, path))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask("/a"); got != 200 {
		t.Fatalf("got %d", got)
	}
	if err := g.Apply(file("  - { path: /new, to: '$1' }\n"), agent); err != nil {
		t.Fatal(err)
	}
	if a, b := ask("/a"), ask("/b"); a != 429 || b != 200 {
		t.Errorf("after the reload /a got %d and /b %d, want 429 and 200", a, b)
	}
}
