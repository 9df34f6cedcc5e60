package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/app"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func ask(t *testing.T, s *Server, path string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.Addr().String()+path, nil)
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
	return resp.StatusCode, string(b)
}

func serve(t *testing.T, a *app.App, address string) *Server {
	t.Helper()
	s, err := Listen(a, address, "v1", slog.New(slog.DiscardHandler))
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

func TestHealthAndReadiness(t *testing.T) {
	g := airsidetest.Start(t, "routes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
	s := serve(t, g.App, "127.0.0.1:0")
	fresh := serve(t, app.New(app.Settings{Log: slog.New(slog.DiscardHandler)}), "127.0.0.1:0")
	for _, tt := range []struct {
		s      *Server
		path   string
		status int
	}{
		{s, "/healthz", 200},
		{s, "/readyz", 200},
		{s, "/version", 200},
		{s, "/none", 404},
		{fresh, "/healthz", 200},
		{fresh, "/readyz", 503},
		{fresh, "/config", 503},
	} {
		if got, body := ask(t, tt.s, tt.path, nil); got != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.path, got, body, tt.status)
		}
	}
	if err := g.App.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, _ := ask(t, s, "/readyz", nil); got != 503 {
		t.Errorf("after the end: got %d, want 503", got)
	}
}

func TestConfigIsMasked(t *testing.T) {
	g := airsidetest.Start(t, "policies: { k: { apikey: { keys: { a: canary-0123456789abcdef } } } }\nroutes: [{ path: /, use: [k], to: 'http://127.0.0.1:1' }]\n")
	status, body := ask(t, serve(t, g.App, "127.0.0.1:0"), "/config", nil)
	if status != 200 || !strings.Contains(body, "***") || strings.Contains(body, "canary") {
		t.Errorf("got %d\n%s", status, body)
	}
}

// Neither a web page in the operator's browser nor a name that was made to point
// here gets anything.
func TestGuard(t *testing.T) {
	g := airsidetest.Start(t, "routes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
	s := serve(t, g.App, "127.0.0.1:0")
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"a web page", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		{"another name", func(r *http.Request) { r.Host = "evil.example" }, 421},
		{"localhost", func(r *http.Request) { r.Host = "localhost:1" }, 200},
		{"another method", func(r *http.Request) { r.Method = "POST" }, 405},
	} {
		if got, _ := ask(t, s, "/config", tt.change); got != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.status)
		}
	}
}

// Where others can reach the address, nothing but health is told.
func TestExposed(t *testing.T) {
	g := airsidetest.Start(t, "routes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
	s := serve(t, g.App, "0.0.0.0:0")
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/config": 404, "/version": 404} {
		url := fmt.Sprintf("%s, Host of a probe", path)
		if got, _ := ask(t, s, path, func(r *http.Request) {
			r.URL.Host = strings.Replace(r.URL.Host, "[::]", "127.0.0.1", 1)
			r.Host = "10.0.0.1"
		}); got != want {
			t.Errorf("%s: got %d, want %d", url, got, want)
		}
	}
}
