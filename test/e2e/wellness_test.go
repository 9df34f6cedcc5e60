package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

// noticed is what the log says when the health of an endpoint changes.
const noticed = "the health of an endpoint has changed"

// However a client breaks its request or leaves, no endpoint is put aside for it, even if
// one failure is enough.
func TestClientFaultsEjectNobody(t *testing.T) {
	agent := airsidetest.Upstream(t, airsidetest.Echo)
	endless := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 4<<10)); err != nil || rc.Flush() != nil {
				return
			}
		}
	})
	for _, upstream := range []string{"fast", "std", "h2c"} {
		t.Run(upstream, func(t *testing.T) {
			engine := "engine: " + upstream
			if upstream == "h2c" {
				engine = "protocol: h2c"
			}
			g := airsidetest.Start(t, strings.ReplaceAll(`
listen: { address: "127.0.0.1:0", limits: { body_timeout: 300ms } }
admin: off
upstreams:
  agent: { http: { endpoints: ['$1', '$2'], ENGINE, eject: { errors: 1, max: 100% }, breaker: { errors: 1 }, panic: 0% } }
  endless: { http: { url: '$3', ENGINE, eject: { errors: 1, max: 100% }, breaker: { errors: 1 }, panic: 0% } }
routes:
  - { path: /endless, to: endless }
  - { path: /*, to: agent }
`, "ENGINE", engine), agent, airsidetest.Upstream(t, airsidetest.Echo), endless)
			breakAll(t, g)
			for range 5 {
				leaveHalfway(t, g)
			}
			resp, err := g.Client(airsidetest.H1).Get("http://" + g.Addr + "/well")
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("got %v, %v, want 200", resp, err)
			}
			resp.Body.Close()
			if strings.Contains(g.Log(), noticed) {
				t.Errorf("an endpoint was put aside:\n%s", g.Log())
			}
		})
	}
}

// breakAll sends every broken body, and leaves in every way.
func breakAll(t *testing.T, g *airsidetest.Gateway) {
	t.Helper()
	for i, b := range brokenBodies {
		for how, leave := range map[string]func(*net.TCPConn){
			"closes": func(c *net.TCPConn) { c.CloseWrite() },
			"resets": func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
			"stops":  func(*net.TCPConn) {},
		} {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr)
			if err != nil {
				t.Fatal(err)
			}
			path := fmt.Sprintf("/%s/%d", how, i)
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", path, b.head, b.body)
			leave(c.(*net.TCPConn))
			line := g.WaitExchange(func(l airsidetest.Line) bool { return l["path"] == path })
			if status := line["status"].(float64); status < 400 || status >= 500 {
				t.Errorf("%s and %s: logged as %v (%v)", b.name, how, status, line["err"])
			}
			c.Close()
		}
	}
}

// leaveHalfway is a client that leaves within an answer.
func leaveHalfway(t *testing.T, g *airsidetest.Gateway) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := io.ReadFull(c, make([]byte, 8<<10)); err != nil {
		t.Fatal(err)
	}
	before := len(g.Exchanges())
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	g.WaitExchange(func(l airsidetest.Line) bool { return len(g.Exchanges()) > before && l["path"] == "/endless" })
}

// awaitLog waits until the log holds all parts.
func awaitLog(t *testing.T, g *airsidetest.Gateway, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		lines := bufio.NewScanner(strings.NewReader(g.Log()))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			n := 0
			for _, p := range parts {
				if strings.Contains(lines.Text(), p) {
					n++
				}
			}
			if n == len(parts) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no line holds %q:\n%s", parts, g.Log())
		}
	}
}

// An endpoint whose check fails gets nothing, and gets its share again when it is well.
func TestChecksSteer(t *testing.T) {
	var ill atomic.Bool
	var served [2]atomic.Int32
	agent := func(i int) string {
		return airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/healthz" && i == 0 && ill.Load():
				w.WriteHeader(http.StatusServiceUnavailable)
			case r.URL.Path != "/healthz":
				served[i].Add(1)
			}
		})
	}
	ill.Store(true)
	yaml := `
upstreams:
  agent: { http: { endpoints: ['$1', '$2'], health: { path: /healthz, interval: 100ms } } }
routes: [{ path: /*, to: agent }]
`
	a, b := agent(0), agent(1)
	g := airsidetest.Start(t, yaml, a, b)
	awaitLog(t, g, noticed, a, `"to":"unhealthy"`, "GET /healthz answered 503")
	ask := func() {
		t.Helper()
		for range 10 {
			resp, err := g.Client(airsidetest.H1).Get("http://" + g.Addr + "/")
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("got %v, %v, want 200", resp, err)
			}
			resp.Body.Close()
		}
	}
	ask()
	if err := g.Apply(yaml+"\n# the same\n", a, b); err != nil {
		t.Fatal(err)
	}
	ask()
	if x, y := served[0].Load(), served[1].Load(); x != 0 || y != 20 {
		t.Errorf("%d and %d were served, want 0 and 20: a reload has forgotten what was known", x, y)
	}
	ill.Store(false)
	awaitLog(t, g, noticed, a, `"to":"healthy"`)
	ask()
	if x := served[0].Load(); x != 5 {
		t.Errorf("%d of 10 were served by the endpoint that is well again, want 5", x)
	}
}

// A breaker that is open is told to the client as 503 with a Retry-After, and lets a
// fallback take over; a reload with the same settings does not close it.
func TestBreakerTold(t *testing.T) {
	var asked atomic.Int32
	bad := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	})
	good := airsidetest.Upstream(t, airsidetest.Echo)
	yaml := `
upstreams: { agent: { http: { url: '$1', breaker: { errors: 3, for: 1h } } } }
routes:
  - { path: /alone, to: agent }
  - { path: /both, to: [agent, '$2'] }
`
	g := airsidetest.Start(t, yaml, bad, good)
	post := func(path string, want int) {
		t.Helper()
		resp, err := g.Client(airsidetest.H1).Post("http://"+g.Addr+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, resp.StatusCode, want)
		}
		if after := resp.Header.Get("Retry-After"); (want == 503) != (after != "") {
			t.Errorf("%s: Retry-After is %q", path, after)
		}
	}
	for range 3 {
		post("/alone", 500)
	}
	post("/alone", 503)
	post("/both", 200)
	if err := g.Apply(yaml+"  - { path: /new, to: agent }\n", bad, good); err != nil {
		t.Fatal(err)
	}
	post("/new", 503)
	if n := asked.Load(); n != 3 {
		t.Errorf("the agent was asked %d times, want 3", n)
	}
	if n := strings.Count(g.Log(), noticed); n != 1 {
		t.Errorf("the change was logged %d times, want once", n)
	}
}

// All forms in which the settings of health may be written are read, and what is wrong
// is told with its place.
func TestWellnessSettings(t *testing.T) {
	for _, tt := range []struct{ settings, want string }{
		{"health: /healthz", ""},
		{"health: { path: /healthz?a=b, status: [200, 204-299], jitter: 0.2, initial: unhealthy }", ""},
		{"health: { path: /healthz, status: 200 }", ""},
		{"health: { protocol: tcp }", ""},
		{"health: { protocol: grpc, service: a.B, host: a.example }", ""},
		{"eject: {}", ""},
		{"eject: { on: [connect, 503], errors: 5, of: 20, rate: 50%, latency: 2.5, max: 1, max_for: 1h }", ""},
		{"eject: { on: 5xx }, breaker: {}, panic: 0", ""},
		{"health: {}", "a check by HTTP needs a path"},
		{"health: { path: /a, interval: 1ms }", "airside.yaml:1:84: interval: must be 100ms to 24h"},
		{"health: { path: /a, status: 2xx }", "expected a status such as 204"},
		{"eject: { on: [429] }", "expected one of connect, reset"},
		{"eject: { max: 150% }", "expected a share such as 50%"},
		{"breaker: { errors: 0 }", "must be 1 to 1000"},
		{"panic: 2", "expected a share"},
	} {
		t.Run(tt.settings, func(t *testing.T) {
			yaml := "upstreams: { a: { http: { url: 'http://127.0.0.1:1', " + tt.settings + " } } }\nroutes: [{ path: /, to: a }]\nadmin: off\n"
			_, err := app.Parse("airside.yaml", []byte(yaml), config.Lookup{})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// An answer that was passed on whole makes the failures before it forgotten, however it
// was framed and whoever reads it.
func TestWholeAnswersClear(t *testing.T) {
	const rounds = 4
	for _, upstream := range []string{"engine: fast", "engine: std", "protocol: h2c"} {
		for _, size := range []int{0, 10, 100 << 10, 3 << 20} {
			t.Run(fmt.Sprintf("%s %d", upstream, size), func(t *testing.T) {
				var n atomic.Int32
				agent := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1)%2 == 1 {
						w.WriteHeader(http.StatusBadGateway)
						return
					}
					if r.URL.RawQuery == "chunked" {
						_ = http.NewResponseController(w).Flush()
					} else {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					_, _ = io.WriteString(w, strings.Repeat("x", size))
				})
				g := airsidetest.Start(t, `
upstreams: { agent: { http: { url: '$1', `+upstream+`, breaker: { errors: 2 } } } }
routes: [{ path: /*, to: agent }]
`, agent)
				for _, m := range []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std, airsidetest.H2} {
					for i := range 2 * rounds {
						resp, err := g.Client(m).Get(g.URL(m, []string{"/", "/?chunked"}[i/rounds]))
						if err != nil {
							t.Fatal(err)
						}
						b, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if want := []int{502, 200}[i%2]; err != nil || resp.StatusCode != want || want == 200 && len(b) != size {
							t.Fatalf("%s, request %d: got %d with %d bytes, %v, want %d", m, i, resp.StatusCode, len(b), err, want)
						}
						// The client has the answer a little before the gateway takes note of it, and
						// the next request comes by a connection of its own.
						id := resp.Header.Get("X-Request-Id")
						g.WaitExchange(func(l airsidetest.Line) bool { return l["id"] == id })
					}
				}
				if strings.Contains(g.Log(), noticed) {
					t.Error("the breaker opened")
				}
			})
		}
	}
}
