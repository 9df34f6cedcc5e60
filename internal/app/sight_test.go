package app_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

// told is what the metrics of g are, line by line.
func told(t *testing.T, g *airsidetest.Gateway) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	g.App.Metrics().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	out := map[string]string{"status": http.StatusText(w.Code)}
	for line := range strings.Lines(w.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			out[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return out
}

func post(t *testing.T, g *airsidetest.Gateway, m airsidetest.Mode, path string) {
	t.Helper()
	resp, err := g.Client(m).Post(g.URL(m, path), "text/plain", strings.NewReader("12345"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// An exchange is counted whatever version of HTTP and whatever engine it came by.
func TestEveryModeIsCounted(t *testing.T) {
	airsidetest.Each(t, func(t *testing.T, m airsidetest.Mode) {
		agent := airsidetest.Upstream(t, airsidetest.Echo)
		g := airsidetest.Start(t, "upstreams: { agent: { http: $1 } }\nroutes: [{ name: all, path: /*, to: agent }]\n", agent)
		post(t, g, m, "/a/secret/path")
		g.WaitExchange(func(airsidetest.Line) bool { return true })
		version := "1.1"
		switch {
		case m == airsidetest.H3:
			version = "3"
		case strings.HasPrefix(string(m), "h2"):
			version = "2"
		}
		labels := `{airside_upstream="agent",http_request_method="POST",http_response_status_code="200",http_route="all",network_protocol_version="` + version + `"}`
		lines := told(t, g)
		for line, want := range map[string]string{
			"http_server_request_duration_seconds_count" + labels: "1",
			"http_server_request_body_size_bytes_sum" + labels:    "5",
			"http_server_active_requests":                         "0",
		} {
			if got := lines[line]; got != want {
				t.Errorf("%s: got %q, want %q", line, got, want)
			}
		}
	})
}

// What was counted survives a reload, but for a route that is gone; a configuration that
// is refused is told of.
func TestMetricsSurviveReloads(t *testing.T) {
	const stays, goes = "{ name: stays, path: /stays, use: [{ static: { body: hi } }] }", "{ name: goes, path: /goes, use: [{ static: { body: hi } }] }"
	g := airsidetest.Start(t, "routes: ["+stays+", "+goes+"]\n")
	count := func(route string) string {
		return told(t, g)[`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="`+route+`",network_protocol_version="1.1"}`]
	}
	done := 0
	ask := func(path string) {
		post(t, g, airsidetest.H1, path)
		done++
		g.WaitExchange(func(airsidetest.Line) bool { return len(g.Exchanges()) == done })
	}
	ask("/stays")
	ask("/goes")
	if count("stays") != "1" || count("goes") != "1" {
		t.Fatalf("got %v", told(t, g))
	}
	if err := g.Apply("routes: [" + stays + "]\n"); err != nil {
		t.Fatal(err)
	}
	ask("/stays")
	if count("stays") != "2" || count("goes") != "" {
		t.Errorf("after a reload: %q and %q, want 2 and none", count("stays"), count("goes"))
	}
	if err := g.Apply("listen: '127.0.0.1:99999999'\nroutes: [" + stays + "]\n"); err == nil {
		t.Fatal("an address that there is not was taken")
	}
	g.App.Refused() // whoever could not read a file says so
	if lines := told(t, g); lines["airside_config_last_reload_success"] != "0" || lines["airside_config_generation"] != "2" {
		t.Errorf("success %s, generation %s", lines["airside_config_last_reload_success"], lines["airside_config_generation"])
	}
	if err := g.Apply("telemetry: { metrics: off }\nroutes: [" + stays + "]\n"); err != nil {
		t.Fatal(err)
	}
	if lines := told(t, g); lines["status"] != "Not Found" {
		t.Errorf("off: %v", lines)
	}
}

// Every try is counted: one that found nobody, and the one that made good for it.
func TestTriesAreCounted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	for _, engine := range []string{"fast", "std"} {
		t.Run(engine, func(t *testing.T) {
			g := airsidetest.Start(t, "upstreams: { agents: { http: { endpoints: [$1, $2], engine: "+engine+", retry: { attempts: 2 } } } }\nroutes: [{ path: /*, to: agents }]\n", nobody, agent)
			for range 4 {
				post(t, g, airsidetest.H1, "/")
			}
			lines := told(t, g)
			const name = "http_client_request_duration_seconds_count"
			answered := lines[name+`{airside_upstream="agents",error_type="404",http_request_method="POST",http_response_status_code="404"}`]
			failed := lines[name+`{airside_upstream="agents",error_type="upstream_failed",http_request_method="POST"}`]
			if answered != "4" || failed == "" {
				t.Errorf("%q answered, %q failed; want 4, and some", answered, failed)
			}
		})
	}
}

// A bucket names the trace of an exchange that lies in it, where there are traces: here
// the one that the client has begun.
func TestBucketsNameTraces(t *testing.T) {
	collector := airsidetest.Upstream(t, func(http.ResponseWriter, *http.Request) {})
	g := airsidetest.Start(t, "telemetry: { traces: { otlp: $1, sample: 1 } }\nroutes: [{ path: /, use: [{ static: { body: hi } }] }]\n", collector)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL(airsidetest.H1, "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	resp, err := g.Client(airsidetest.H1).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	g.WaitExchange(func(airsidetest.Line) bool { return true })
	w, scrape := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil)
	scrape.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	g.App.Metrics().Handler().ServeHTTP(w, scrape)
	if !strings.Contains(w.Body.String(), `# {trace_id="`+id+`"}`) {
		t.Errorf("no bucket names the trace:\n%s", w.Body)
	}
}

// Exchanges under way are counted, those of an earlier configuration too.
func TestActiveExchanges(t *testing.T) {
	began, leave := make(chan struct{}), make(chan struct{})
	agent := airsidetest.Upstream(t, func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-leave
	})
	const yaml = "upstreams: { agent: { http: $1 } }\nroutes: [{ name: all, path: /*, to: agent }]\n"
	g := airsidetest.Start(t, yaml, agent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, "/"))
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
	}()
	<-began
	if got := told(t, g)["http_server_active_requests"]; got != "1" {
		t.Errorf("%s under way, want 1", got)
	}
	if err := g.Apply(yaml, agent); err != nil {
		t.Fatal(err)
	}
	if got := told(t, g)["http_server_active_requests"]; got != "1" {
		t.Errorf("after a reload: %s under way, want 1", got)
	}
	close(leave)
	<-ended
	g.WaitExchange(func(airsidetest.Line) bool { return true })
	if got := told(t, g)["http_server_active_requests"]; got != "0" {
		t.Errorf("at the end: %s under way, want 0", got)
	}
}

// Connections are counted by address, those that were one too many as well.
func TestConnectionsAreCounted(t *testing.T) {
	g := airsidetest.Start(t, "admin: off\nlisten: { address: '127.0.0.1:0', limits: { connections: 1 } }\nroutes: [{ path: /, use: [{ static: { body: hi } }] }]\n")
	dial := func() net.Conn {
		c, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := dial()
	if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(first, make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatal("the second connection was served")
	}
	again := dial() // when it is closed, the second was counted
	if _, err := again.Read(make([]byte, 1)); err == nil {
		t.Fatal("the third connection was served")
	}
	lines := told(t, g)
	open, refused := lines[`airside_listener_connections{listener="127.0.0.1:0"}`], lines[`airside_listener_refused_total{listener="127.0.0.1:0"}`]
	if open != "1" || refused != "1" && refused != "2" {
		t.Errorf("%s open, %s refused; want 1, and 1 or 2", open, refused)
	}
}
