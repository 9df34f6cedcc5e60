package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/admin"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
)

// canaryFile has a reference wherever one may stand that comes to text: each @@ to a
// canary of its own, which nobody is to see, and each %% to one that clients are
// answered with. AGENT is an agent that answers as it is asked.
const canaryFile = `
admin: off
listen: { address: "127.0.0.1:0" }
upstreams:
  named: { http: { url: "http://AGENT/@@", host: "@@.example", first_byte: 100ms } }
  lost: { http: { endpoints: ["http://@@.invalid/@@", { url: "http://@@.invalid" }], retry: { backoff: 1ms } } }
  gone: { http: { url: "${env:WHOLE}" } }
  late: { http: { url: "http://AGENT", first_byte: 100ms, fallback_on: 503 } }
policies:
  keys: { apikey: { keys: { ward: { key: "@@-0123456789", claims: { secret: "@@" } } } } }
  login: { basic: { realm: "%%", users: { joe: { password: "@@-0123456789", claims: { secret: "@@" } } } } }
  rule: { allow: { rule: 'caller.claims["@@"] == "@@"', message: "%%" } }
  cast: { allow: 'int("@@" + request.path) == 1' }
  key: { ratelimit: { limit: 1, per: 1h, by: '"@@" + request.path' } }
  fails: { ratelimit: { limit: 1, per: 1h, by: 'request.headers["@@"]' } }
  place: { concurrency: { max: 1, by: 'request.headers["@@"]' } }
  made: { headers: { request: { set: { X-Made: { cel: 'caller.claims["@@"]' } }, add: { X-Added: "@@" } } } }
  told: { headers: { response: { set: { X-Told: "%%" } } } }
  shaped: { transform: { request: '{text: (.text + "@@" + 1)}', response: '.a + "@@" | .["@@"]', events: '.["@@"].x + "@@" | .a' } }
  raised: { transform: { request: 'error("%%")' } }
  moved: { rewrite: { path: "/@@/x", query: { set: { q: "@@" } }, host: "@@.example" } }
  regex: { rewrite: { regex: { match: "@@", replace: "@@" } } }
  copy: { mirror: { to: "http://@@.invalid/" } }
  web: { cors: { allow_origins: ["https://@@.example"], allow_headers: ["%%"] } }
  fixed: { static: { status: 200, headers: { X-Fixed: "%%" }, body: "%%" } }
  broken: { fault: { abort: { status: 503 }, when: 'request.headers["@@"] == "@@"' } }
use: [web]
routes:
  - { path: /named, use: [told], to: named }
  - { name: "@@", path: /lost, to: lost }
  - { path: /gone, to: gone }
  - { path: /late, to: [late, lost, "http://@@.invalid/@@"] }
  - { path: /url, to: "http://@@.invalid/@@" }
  - { path: /share, to: { "http://127.0.0.1:1/x": 1 } }
  - { path: "/@@/*", to: named }
  - { path: /host, host: "@@.example", to: lost }
  - { path: /when, when: 'request.headers["@@"] == "@@"', to: named }
  - { path: /cond, headers: { X-Cond: "@@" }, query: { q: "@@" }, to: named }
  - { path: /query, query: { q: "@@" }, to: named }
  - { path: /keys, use: [keys, rule], to: named }
  - { path: /login, use: [login, rule], to: named }
  - { path: /cast, use: [cast], to: named }
  - { path: /key, use: [key], to: lost }
  - { path: /fails, use: [fails], to: named }
  - { path: /place, use: [place, broken], to: named }
  - { path: /made, use: [made], to: named }
  - { path: /shaped, use: [shaped], to: named }
  - { path: /raised, use: [raised], to: named }
  - { path: /moved, use: [moved], to: named }
  - { path: /regex, use: [regex], to: named }
  - { path: /copy, use: [copy], to: named }
  - { path: /fixed, use: [fixed] }
  - { name: "here@@", path: /strip/x, strip: "/strip", use: [{ allow: 'caller.claims["@@"] == "x"' }], to: "http://@@.invalid" }
`

// canaries makes a configuration of canaryFile.
func canaries(t *testing.T, agent string) (c *config.Config, values map[string]string) {
	t.Helper()
	values = map[string]string{"WHOLE": "http://canary00x.invalid/canary00x"}
	text := regexp.MustCompile(`@@|%%`).ReplaceAllStringFunc(canaryFile, func(mark string) string {
		kind := "CANARY"
		if mark == "%%" {
			kind = "TOLD"
		}
		name := fmt.Sprintf("%s_%d", kind, len(values))
		values[name] = fmt.Sprintf("%s%02dx", map[string]string{"CANARY": "canary", "TOLD": "parrot"}[kind], len(values))
		return "${env:" + name + "}"
	})
	text = strings.ReplaceAll(text, "AGENT", strings.TrimPrefix(agent, "http://"))
	c, err := app.Parse(t.TempDir()+"/airside.yaml", []byte(text), config.Lookup{Env: func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, values
}

var canary = regexp.MustCompile(`(?i)(canary|parrot)\d+x`)

// shows reports the canaries in text, but those that may be there.
func shows(text string, may ...string) (found []string) {
	for _, c := range canary.FindAllString(text, -1) {
		if !slices.ContainsFunc(may, func(m string) bool { return strings.Contains(strings.ToLower(m), strings.ToLower(c)) }) {
			found = append(found, c)
		}
	}
	return found
}

// moody is an agent that answers as X-Mood says, and repeats nothing of what it got.
func moody(t *testing.T) string {
	return airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or it is not noticed when the gateway leaves
		switch r.Header.Get("X-Mood") {
		case "late":
			<-r.Context().Done()
		case "angry":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "broken":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		case "events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: {\"a\": 1}\n\n")
		case "gone":
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"a": "b"}`)
		}
	})
}

// A sink keeps what is written.
type sink struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// canaryRequests are all kinds of requests to a path, some of which no client would send
// that does not know a canary.
func canaryRequests(t *testing.T, base, path string, values []string) []*http.Request {
	t.Helper()
	var out []*http.Request
	add := func(method, target, body string, h ...string) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(h); i += 2 {
			if h[i] == "Host" {
				r.Host = h[i+1]
			}
			r.Header.Add(h[i], h[i+1])
		}
		out = append(out, r)
	}
	for _, mood := range []string{"", "late", "angry", "broken", "events", "gone"} {
		add("GET", path, "", "X-Mood", mood)
		add("POST", path, `{"text": "x"}`, "Content-Type", "application/json", "X-Mood", mood)
	}
	add("GET", path+"?q=x", "", "X-Cond", "x", "Origin", "https://other.example")
	add("OPTIONS", path, "", "Origin", "https://other.example", "Access-Control-Request-Method", "GET")
	add("GET", path+"?q=a&q=b", "", "X-Cond", "x")
	add("GET", path, "", "X-Cond", "x", "Upgrade", "websocket", "Connection", "Upgrade")
	add("POST", path, `{"text"`, "Content-Type", "application/json")
	for _, v := range values { // who knows one may be told that one
		add("GET", path+"?q="+url.QueryEscape(v), "", "X-Cond", v, "X-Api-Key", v+"-0123456789", v, v, "Host", v+".example")
		r := out[len(out)-1]
		r.SetBasicAuth("joe", v+"-0123456789")
	}
	return out
}

// TestCanaries proves that what a configuration gets by references is in no line of the
// log, in no page of the administration and in no explanation, whatever goes wrong; and
// in no answer, but where the setting is what answers are made of.
func TestCanaries(t *testing.T) {
	c, values := canaries(t, moody(t))
	var secrets, told []string
	for name, v := range values {
		if strings.HasPrefix(name, "TOLD") {
			told = append(told, v)
		} else if name != "WHOLE" {
			secrets = append(secrets, v)
		}
	}
	slices.Sort(secrets)
	out := &sink{}
	seen := admin.NewRecorder(nil)
	seen.Set(true, 1000)
	a := app.New(app.Settings{Log: slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})), Observers: []edge.Observer{seen}})
	seen.MaskBy(a.Masked)
	if err := a.Apply(c); err != nil {
		t.Fatal(err)
	}
	client := airsidetest.Client(t, airsidetest.H1)
	base := "http://" + a.Addrs()["127.0.0.1:0"].String()
	var all sync.WaitGroup
	room := make(chan struct{}, 16)
	paths := []string{"/nowhere"}
	for i := range c.Routes {
		paths = append(paths, strings.Replace(c.Routes[i].Path, "*", "x", 1))
	}
	for _, path := range paths {
		for _, r := range canaryRequests(t, base, path, secrets[:3]) {
			room <- struct{}{}
			all.Go(func() {
				defer func() { <-room }()
				askCanary(t, client, r, told)
			})
		}
	}
	all.Wait()
	adminPages(t, a, seen, client)
	explanations(t, c, paths, secrets)
	for _, w := range app.Warnings(c) {
		if found := shows(w.String()); len(found) > 0 {
			t.Errorf("a warning shows %q: %s", found, w)
		}
	}
	if err := a.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(out.b.String(), "\n")
	for _, kind := range []string{"upstream_failed", "timeout", "denied", "unauthenticated", "invalid_request", "no such key", "lookup ", "not_found", "${env:"} {
		if !strings.Contains(out.b.String(), kind) {
			t.Errorf("nothing went wrong in the way %s", kind)
		}
	}
	for _, line := range lines {
		if found := shows(line); len(found) > 0 {
			t.Errorf("the log shows %q: %s", found, line)
		}
	}
}

// askCanary sends r and looks through the answer. What the request held it may hold.
func askCanary(t *testing.T, client *http.Client, r *http.Request, told []string) {
	may := append([]string{r.URL.String(), fmt.Sprint(r.Header)}, told...)
	resp, err := client.Do(r)
	if err != nil {
		return // the connection was cut, as it should be where an answer is
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if found := shows(fmt.Sprintf("%s %v %s", resp.Status, resp.Header, body), may...); len(found) > 0 {
		t.Errorf("the answer to %s %s shows %q: %v %s", r.Method, r.URL, found, resp.Header, body)
	}
}

func adminPages(t *testing.T, a *app.App, seen *admin.Recorder, client *http.Client) {
	t.Helper()
	s, err := admin.Listen(admin.Settings{App: a, Config: config.Admin{Address: "127.0.0.1:0"}, Version: "test", Log: a.Log(), Recorder: seen})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{
		"/config", "/version", "/readyz", "/healthz", "/nothing", "/api/v1/status", "/api/v1/routes", "/api/v1/upstreams", "/api/v1/traffic",
		"/api/v1/exchanges?limit=1000",
	} {
		resp, err := client.Get("http://" + s.Addr().String() + page)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if found := shows(string(body)); len(found) > 0 {
			t.Errorf("%s shows %q", page, found)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// explanations asks what would become of requests to all paths.
func explanations(t *testing.T, c *config.Config, paths, secrets []string) {
	t.Helper()
	hosts := []string{"localhost"}
	for _, s := range secrets {
		hosts = append(hosts, s+".example")
	}
	for _, path := range paths {
		for _, host := range hosts[:4] {
			r := &http.Request{
				Method: "GET", Host: host, RequestURI: path + "?q=x", URL: &url.URL{Path: path}, Header: http.Header{"X-Cond": {"y"}},
				Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:1",
			}
			e, err := app.Explain(slog.New(slog.DiscardHandler), c, r)
			if err != nil {
				t.Fatal(err)
			}
			if found := shows(fmt.Sprintf("%+v", e), path, host); len(found) > 0 {
				t.Errorf("explain shows %q: %+v", found, e)
			}
		}
	}
}

// TestCanaryReload proves that the words of a configuration that was replaced are kept
// out of the log too, and that one that was refused leaves the log as it was.
func TestCanaryReload(t *testing.T) {
	out := &sink{}
	a := app.New(app.Settings{Log: slog.New(slog.NewJSONHandler(out, nil))})
	apply := func(word, text string) error {
		c, err := app.Parse("airside.yaml", []byte("admin: off\nlisten: '127.0.0.1:0'\n"+text), config.Lookup{Env: func(string) (string, bool) { return word, true }})
		if err != nil {
			return err
		}
		return a.Apply(c)
	}
	const file = "routes: [{ path: '/${env:X}', use: [{ static: {} }] }]"
	for _, word := range []string{"canary01x", "canary02x", "canary03x"} {
		if err := apply(word, file); err != nil {
			t.Fatal(err)
		}
	}
	if err := apply("canary04x", "routes: [{ path: '/${env:X}', use: [{ rewrite: { path: '/{${env:X}}' } }], to: 'http://127.0.0.1:1' }]"); err == nil {
		t.Error("a route without the parameter was taken")
	} else if strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
	a.Log().Warn("canary01x canary02x canary03x", slog.Any("err", fmt.Errorf("canary01x canary02x canary03x")))
	if err := a.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if found := shows(out.b.String()); len(found) > 0 || !strings.Contains(out.b.String(), "${env:X} ${env:X} ${env:X}") {
		t.Errorf("the log shows %q: %s", found, out.b.String())
	}
}
