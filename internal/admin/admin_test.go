package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const plain = "routes: [{ path: /, use: [{ static: { body: hi } }] }]\n"

// A gateway is one under test, with its administration.
type gateway struct {
	t        *testing.T
	app      *app.App
	recorder *Recorder
	admin    *Server
	base     string // of clients
}

// start runs a gateway with the administration of conf, whose address is loopback and
// free if it is empty.
func start(t *testing.T, yaml string, conf config.Admin) *gateway {
	t.Helper()
	g := &gateway{t: t, recorder: NewRecorder(nil)}
	if conf.Recent == 0 {
		conf.Recent = 1000
	}
	g.recorder.Set(true, conf.Recent)
	g.app = app.New(app.Settings{Log: slog.New(slog.DiscardHandler), Observers: []edge.Observer{g.recorder}, Poison: true})
	g.recorder.MaskBy(g.app.Masked)
	t.Cleanup(func() {
		if err := g.app.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if yaml != "" {
		c, err := app.Parse(t.TempDir()+"/airside.yaml", []byte("listen: '127.0.0.1:0'\nadmin: off\nshutdown: { grace: 1s }\n"+yaml), config.Lookup{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.app.Apply(c); err != nil {
			t.Fatal(err)
		}
		g.base = "http://" + g.app.Addrs()["127.0.0.1:0"].String()
	}
	g.admin = serve(t, g, conf)
	return g
}

func serve(t *testing.T, g *gateway, conf config.Admin) *Server {
	t.Helper()
	if conf.Address == "" {
		conf.Address = "127.0.0.1:0"
	}
	s, err := Listen(Settings{
		App: g.app, Version: "v1", Log: slog.New(slog.DiscardHandler), Config: conf, Recorder: g.recorder,
		Metrics: g.app.Metrics().Handler(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func secret(s string) *airside.Secret {
	out := airside.Secret(s)
	return &out
}

// ask sends a GET, or what change makes of it.
func ask(t *testing.T, s *Server, path string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	scheme := "http://"
	if s.TLS() {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", scheme+strings.Replace(s.Addr().String(), "[::]", "127.0.0.1", 1)+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := airsidetest.Client(t, airsidetest.H1).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// read asks for path and reads its JSON.
func read[T any](t *testing.T, s *Server, path string) T {
	t.Helper()
	var out T
	resp, body := ask(t, s, path, nil)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: got %d %s", path, resp.StatusCode, body)
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
	return out
}

// send sends a request to the gateway.
func (g *gateway) send(method, path, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.base+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := airsidetest.Client(g.t, airsidetest.H1).Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// TestHealthAndReadiness proves what is told before the first configuration, in force,
// and at the end.
func TestHealthAndReadiness(t *testing.T) {
	g, fresh := start(t, plain, config.Admin{}), start(t, "", config.Admin{})
	for _, tt := range []struct {
		s      *Server
		path   string
		status int
	}{
		{g.admin, "/healthz", 200},
		{g.admin, "/readyz", 200},
		{g.admin, "/version", 200},
		{g.admin, "/none", 404},
		{g.admin, "/version?x=1", 400},
		{g.admin, "/healthz?x=1", 200},
		{g.admin, "/metrics?name=up", 200},
		{fresh.admin, "/healthz", 200},
		{fresh.admin, "/readyz", 503},
		{fresh.admin, "/config", 503},
		{fresh.admin, "/api/v1/status", 200},
		{fresh.admin, "/api/v1/routes", 200},
		{fresh.admin, "/api/v1/upstreams", 200},
	} {
		resp, body := ask(t, tt.s, tt.path, nil)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.path, resp.StatusCode, body, tt.status)
		}
		if got := resp.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control is %q", tt.path, got)
		}
	}
	if err := g.app.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if resp, _ := ask(t, g.admin, "/readyz", nil); resp.StatusCode != 503 {
		t.Errorf("after the end: got %d, want 503", resp.StatusCode)
	}
}

// TestConfigIsMasked proves that the live configuration shows no secret.
func TestConfigIsMasked(t *testing.T) {
	g := start(t, "policies: { k: { apikey: { keys: { a: canary-0123456789abcdef } } } }\nroutes: [{ path: /, use: [k], to: 'http://127.0.0.1:1' }]\n", config.Admin{})
	resp, body := ask(t, g.admin, "/config", nil)
	if resp.StatusCode != 200 || !strings.Contains(body, "***") || strings.Contains(body, "canary") {
		t.Errorf("got %d\n%s", resp.StatusCode, body)
	}
}

// TestStatus proves that status, routes and upstreams tell of the live configuration.
func TestStatus(t *testing.T) {
	agent := airsidetest.Upstream(t, airsidetest.Echo)
	g := start(t, "upstreams: { a: { http: { url: '"+agent+"' } } }\nroutes: [{ name: first, host: x.example, path: /a/*, method: [GET, POST], use: [{ cors: { allow_origins: ['https://a.example'] } }], to: a }, { path: /b, to: '"+agent+"' }]\n", config.Admin{})
	s := read[Status](t, g.admin, "/api/v1/status")
	if !s.Ready || s.Version != "v1" || s.Config == nil || s.Config.Nth != 1 || s.Routes != 2 || s.Upstreams != 2 || !s.Recording || s.Recent != 1000 || len(s.Listening) != 1 {
		t.Errorf("status: %+v", s)
	}
	r := read[Routes](t, g.admin, "/api/v1/routes").Routes
	if len(r) != 2 || r[0].Name != "first" || r[0].Path != "/a/*" || len(r[0].Method) != 2 || r[0].Host[0] != "x.example" || r[0].Policies[0] != "cors" || r[0].Upstreams[0] != "a" || !strings.HasSuffix(r[0].At, "airside.yaml:5:10") {
		t.Errorf("routes: %+v", r)
	}
	u := read[Upstreams](t, g.admin, "/api/v1/upstreams").Upstreams
	if len(u) != 2 || u[0].Name != "a" || u[0].Kind != "http" || len(u[0].Endpoints) != 1 || u[0].Endpoints[0].Address != agent || u[0].Endpoints[0].State != "healthy" {
		t.Errorf("upstreams: %+v", u)
	}
}

// TestDiscovery proves that it is told how the endpoints of an upstream are found, and what
// is wrong with that.
func TestDiscovery(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agents.yaml")
	if err := os.WriteFile(file, []byte("- 127.0.0.1:9001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, "upstreams: { found: { http: { discover: { file: { path: '"+file+"' } } } }, lost: { http: { discover: { file: { path: '"+file+".none' } } } } }\n"+
		"routes: [{ path: /found, to: found }, { path: /lost, to: lost }, { path: /, to: 'http://127.0.0.1:9001' }]\n", config.Admin{})
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		all := map[string]*Discovery{}
		for _, u := range read[Upstreams](t, g.admin, "/api/v1/upstreams").Upstreams {
			all[u.Name] = u.Discovery
		}
		found, lost := all["found"], all["lost"]
		if found == nil || lost == nil || len(all) != 3 || all["http://127.0.0.1:9001"] != nil {
			t.Fatalf("got %v", all)
		}
		if found.Known && found.Changed != nil && found.Error == "" && !lost.Known && lost.Changed == nil && lost.Failures > 0 && lost.Error != "" {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("found: %+v, lost: %+v", found, lost)
		default:
		}
	}
}
