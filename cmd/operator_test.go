package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/telemetry"
)

const adminToken = "correct-horse-battery"

// gateway runs one whose route /ok answers and whose route /down fails, after one request
// to each. It returns its admin address.
func gateway(t *testing.T) string {
	t.Helper()
	seen := admin.NewRecorder(nil)
	seen.Set(true, 100)
	a := app.New(app.Settings{Log: slog.New(slog.DiscardHandler), Observers: []edge.Observer{seen}})
	c, err := app.Parse("airside.yaml", []byte(`listen: 127.0.0.1:0
shutdown: { grace: 1s }
routes: [{ name: ok, path: /ok, use: [{ static: { body: hi } }] }, { name: down, path: /down, to: "http://127.0.0.1:1" }]
`), config.Lookup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(c); err != nil {
		t.Fatal(err)
	}
	token := airside.Secret(adminToken)
	s, err := admin.Listen(admin.Settings{App: a, Version: "v1", Log: a.Log(), Recorder: seen, Config: config.Admin{Address: "127.0.0.1:0", Token: &token}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, path := range []string{"/ok", "/down"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+a.Addrs()["127.0.0.1:0"].String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := airsidetest.Client(t, airsidetest.H1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return s.Addr().String()
}

// TestNobodyCounts proves that nothing is counted, nor recorded, where nobody can ask for it.
func TestNobodyCounts(t *testing.T) {
	seen := admin.NewRecorder(nil)
	r := &runner{program: &program{Err: io.Discard}, seen: seen, app: app.New(app.Settings{Log: slog.New(slog.DiscardHandler), Observers: []edge.Observer{seen}})}
	var err error
	if r.output, err = telemetry.Open(telemetry.Output{Writer: io.Discard}, telemetry.JSON, slog.LevelInfo); err != nil {
		t.Fatal(err)
	}
	r.log = r.app.Log()
	for _, tt := range []struct {
		admin string
		on    bool
	}{{"off", false}, {"127.0.0.1:0", true}, {"off", false}} {
		c, err := app.Parse("airside.yaml", []byte("listen: 127.0.0.1:0\nadmin: "+tt.admin+"\nroutes: [{ path: /, use: [{ static: { body: hi } }] }]\n"), config.Lookup{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.apply(c); err != nil {
			t.Fatal(err)
		}
		if r.app.Metrics().On() != tt.on || seen.On() != tt.on {
			t.Errorf("admin: %s: metrics %t, recorder %t", tt.admin, r.app.Metrics().On(), seen.On())
		}
	}
	if err := errors.Join(r.app.Shutdown(t.Context()), r.output.Close()); err != nil {
		t.Error(err)
	}
}

// TestUpstreamText proves what status says of an upstream that sends again, and of one
// where nobody is known.
func TestUpstreamText(t *testing.T) {
	for _, tt := range []struct {
		u    admin.Upstream
		want string
	}{
		{admin.Upstream{Name: "a", Kind: "http", Balance: "random"}, "upstream   a (http, random)\n  no endpoint is known\n"},
		{
			admin.Upstream{Name: "a", Kind: "http", Retries: 14, RetriesDenied: 3, HedgesWon: 1, Queued: 2, Endpoints: []admin.Endpoint{{Address: "http://b:1", State: "healthy"}}},
			"upstream   a (http), retries 14, retries denied 3, hedges won 1, waiting for room 2\n" +
				"  http://b:1                       healthy   0 active, 0 requests, 0 % failed\n",
		},
	} {
		if got := upstreamText(&tt.u, time.Now(), styled{}); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

// TestDiscoveryFails proves that status says what keeps endpoints from being found, in words
// that no terminal obeys.
func TestDiscoveryFails(t *testing.T) {
	u := &admin.Upstream{Name: "a", Kind: "http", Discovery: &admin.Discovery{Error: "no answer\x1b[2J"}}
	const why = "endpoints are looked for in vain: no answer?[2J\n"
	if got := upstreamText(u, time.Time{}, styled{}); !strings.Contains(got, why) {
		t.Errorf("got %q, want %q", got, why)
	}
	u.Discovery.Error = ""
	if got := upstreamText(u, time.Time{}, styled{}); strings.Contains(got, "in vain") {
		t.Errorf("all is well: got %q", got)
	}
}

// command runs a command line and returns what it prints, and its code.
func command(args ...string) (out, messages string, code int) {
	var o, e bytes.Buffer
	p := &program{Args: args, Out: &o, Err: &e, Stop: func() {}}
	code = p.main(context.Background())
	return o.String(), e.String(), code
}

// TestStatus proves what is printed of a gateway that runs, and what is said of one that
// cannot be asked.
func TestStatus(t *testing.T) {
	address := gateway(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, messages, code := command("status", "--address", address, "--token-file", file)
	for _, want := range []string{"airside    v1, up ", "state      ready", "generation 1", "listening  127.0.0.1:", "routes     2", "upstream   http://127.0.0.1:1", "502 GET /down"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != 0 || messages != "" {
		t.Errorf("code %d, %s", code, messages)
	}
	t.Setenv(tokenEnv, adminToken)
	out, _, code = command("status", "--address", "http://"+address, "--json")
	var s sample
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || !s.Status.Ready || s.Status.Routes != 2 || len(s.Errors.Exchanges) != 1 {
		t.Errorf("code %d, %v: %s", code, err, out)
	}
	t.Setenv(tokenEnv, "wrong-wrong-wrong")
	for _, tt := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--address", address}, 1, "--token-file"},
		{[]string{"--address", "127.0.0.1:1"}, 1, "is it running?"},
		{[]string{"--address", "ftp://x:1"}, 2, "--address is host:port"},
		{[]string{"--address", "127.0.0.1"}, 2, "--address is host:port"},
		{[]string{"--token-file", "none"}, 1, "reading the token"},
		{[]string{"-c", "none.yaml"}, 1, "none.yaml"},
		{[]string{"--address", "https://" + address}, 1, "cannot be asked"},
	} {
		if _, messages, code := command(append([]string{"status"}, tt.args...)...); code != tt.code || !strings.Contains(messages, tt.say) {
			t.Errorf("%q: code %d, %s, want %d and %q", tt.args, code, messages, tt.code, tt.say)
		}
	}
}

// TestTopOnce proves what is printed for people and for machines, and that there has to
// be a terminal for the rest.
func TestTopOnce(t *testing.T) {
	address := gateway(t)
	t.Setenv(tokenEnv, adminToken)
	out, messages, code := command("top", "--address", address, "--once", "--interval", "100ms")
	if code != 0 || !strings.Contains(out, "ROUTE by rate") || !strings.Contains(out, "502 GET /down") || strings.Contains(out, "\x1b") {
		t.Errorf("code %d, %s\n%s", code, messages, out)
	}
	out, _, code = command("top", "--address", address, "--once", "--json", "--interval", "100ms")
	var r rates
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || !r.Ready || len(r.Routes) != 2 || len(r.Endpoints) != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("code %d, %v: %s", code, err, out)
	}
	for _, args := range [][]string{{"--address", address}, {"--address", address, "--interval", "1ms"}} {
		if _, messages, code := command(append([]string{"top"}, args...)...); code != 2 {
			t.Errorf("%q: code %d, %s", args, code, messages)
		}
	}
}

// samples are two of a gateway, two seconds apart.
func samples() (a, b *sample) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	bucket := func(n uint64) []admin.BucketCounts {
		return []admin.BucketCounts{{Above: 0.008, Below: 0.012, Count: n}}
	}
	a = &sample{}
	a.Status = admin.Status{Version: "v1", Now: at, Started: at.Add(-time.Hour), Ready: true, Recording: true, Config: &app.Applied{Hash: "abc", Nth: 3}}
	a.Traffic = admin.Traffic{Now: at, Routes: []admin.RouteTraffic{{Route: "alpha", Requests: 100, Buckets: bucket(100)}, {Route: "beta", Requests: 10, Failed: 1, Buckets: bucket(10)}}}
	a.Upstreams.Upstreams = []admin.Upstream{{Name: "agents", Endpoints: []admin.Endpoint{{Address: "http://a:1", State: "healthy", Requests: 100}}}}
	b = &sample{Status: a.Status}
	b.Status.Now = at.Add(2 * time.Second)
	b.Traffic = admin.Traffic{Now: b.Status.Now, Routes: []admin.RouteTraffic{{Route: "alpha", Requests: 300, Buckets: bucket(300)}, {Route: "beta", Requests: 30, Failed: 11, Buckets: bucket(30)}}}
	since := at.Add(-time.Minute)
	b.Upstreams.Upstreams = []admin.Upstream{{Name: "agents", Endpoints: []admin.Endpoint{
		{Address: "http://a:1", State: "healthy", Requests: 320, Active: 2, Latency: 0.0123},
		{Address: "http://b:1", State: "ejected", Why: "5 failures in a row", Since: &since, Requests: 5, Failures: 5},
	}}}
	b.Errors = admin.Exchanges{Last: 330, Exchanges: []admin.Exchange{{Number: 330, At: at, Status: 502, Method: "GET", Path: "/x\x1b[2J", Route: "beta", Upstream: "agents", Error: "no\nconnection"}}}
	return a, b
}

// TestFrame proves what a frame shows: rates of what was between two samples, nothing
// that a terminal obeys, and never more than fits.
func TestFrame(t *testing.T) {
	a, b := samples()
	v := &view{ascii: true}
	v.take(a)
	v.take(b)
	want := `airside v1 - ready - up 1h00m - config abc, generation 3
110 requests/s   4.5% failed   p50 10ms   p95 11.8ms   p99 12ms

ROUTE by rate                        REQ/S   FAILED      P50      P95      P99        TOTAL
alpha                                  100       0%     10ms   11.8ms     12ms          300
beta                                  10.0      50%     10ms   11.8ms     12ms           30

ENDPOINT                         UPSTREAM         STATE      ACTIVE     REQ/S    FAIL/S  LATENCY
http://a:1                       agents           healthy         2       110         0   12.3ms
http://b:1                       agents           ejected         0       2.5       2.5        -  5 failures in a row

NEWEST ERRORS
03:04:05 502 GET /x?[2J (agents) no?connection
`
	if d := cmp.Diff(want, v.whole()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, size := range [][2]int{{110, 30}, {40, 10}, {10, 3}, {1, 1}} {
		lines := v.frame(size[0], size[1])
		if len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, l := range lines {
			if len(l) > size[0] {
				t.Errorf("%v: %q is too long", size, l)
			}
		}
	}
}

// TestKeys proves what keys do, however a terminal sends them, and that no input hangs.
func TestKeys(t *testing.T) {
	a, b := samples()
	v := &view{ascii: true}
	v.take(a)
	v.take(b)
	quit := func(in string) bool {
		rest := []byte(in)
		for len(rest) > 0 {
			var k key
			before := len(rest)
			if k, rest = nextKey(rest); len(rest) >= before {
				t.Fatalf("%q takes nothing", in)
			}
			if v.press(k, 8) {
				return true
			}
			v.frame(110, 8)
		}
		return false
	}
	if quit("x\x1b\x1b[99~\x1b[") || v.paused || v.top != 0 {
		t.Error("what means nothing has done something")
	}
	if quit("ss"); v.sort != byLatency || !strings.Contains(v.whole(), "ROUTE by p99") {
		t.Errorf("sorted by %s", v.sort)
	}
	if quit("ps"); !v.paused || v.sort != byName || !strings.Contains(v.frame(110, 8)[0], "PAUSED") {
		t.Error("it is not paused, or not sorted by name")
	}
	if quit("\x1b[B\x1b[B\x1bOA"); v.top != 1 {
		t.Errorf("the first line is %d, want 1", v.top)
	}
	if quit("\x1b[6~\x1b[6~\x1b[6~\x1b[6~"); v.top != len(v.body())-4 || !strings.Contains(v.frame(110, 8)[6], "502 GET") {
		t.Errorf("at the end the first line is %d of %d", v.top, len(v.body()))
	}
	if quit("\x1b[H\x1b[5~k"); v.top != 0 {
		t.Errorf("at the beginning the first line is %d", v.top)
	}
	for _, in := range []string{"q", "\x03", "sQ"} {
		if !quit(in) {
			t.Errorf("%q does not quit", in)
		}
	}
}
