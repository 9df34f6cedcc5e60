package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/airsidetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

// counting is a policy that shows what becomes of components over reloads.
type counting struct{ built, closed, keptBuilt, keptClosed int }

var (
	counts  counting
	countMu sync.Mutex
)

type keptValue struct{}

func (keptValue) Close() error {
	countMu.Lock()
	defer countMu.Unlock()
	counts.keptClosed++
	return nil
}

type countConfig struct {
	Key string `yaml:"key"`
}

func init() {
	airside.RegisterPolicy("count", func(env *airside.Env, c countConfig) (airside.Middleware, error) {
		countMu.Lock()
		counts.built++
		countMu.Unlock()
		env.OnClose(func() error {
			countMu.Lock()
			defer countMu.Unlock()
			counts.closed++
			return nil
		})
		_, err := airside.Keep(env, c.Key, func() (keptValue, error) {
			countMu.Lock()
			defer countMu.Unlock()
			counts.keptBuilt++
			return keptValue{}, nil
		})
		return func(next airside.Handler) airside.Handler { return next }, err
	})
}

// wantCounts waits until the counts are what is wanted: generations are closed in
// their own time.
func wantCounts(t *testing.T, want counting) {
	t.Helper()
	limit := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		countMu.Lock()
		got := counts
		countMu.Unlock()
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// A generation is closed when its last exchange has ended, and not before; what is
// kept lives as long as somebody asks for it.
func TestGenerations(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	agent := airsidetest.Upstream(t, func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-release
	})
	file := func(key, path string) string {
		return fmt.Sprintf("policies: { c: { count: { key: %s } } }\nroutes: [{ path: %s, use: [c], to: '$1' }]\n", key, path)
	}
	g := airsidetest.Start(t, file("a", "/slow"), agent)
	done := make(chan error, 1)
	go func() {
		resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, "/slow"))
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	<-entered
	for _, f := range []string{file("a", "/two"), file("a", "/three")} {
		if err := g.Apply(f, agent); err != nil {
			t.Fatal(err)
		}
	}
	// The first generation is in use; the second was not and is closed.
	wantCounts(t, counting{built: 3, closed: 1, keptBuilt: 1})
	if err := g.Apply("routes: [\n", agent); err == nil {
		t.Error("a broken configuration was accepted")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	g.WaitExchange(func(l airsidetest.Line) bool { return l["path"] == "/slow" })
	if err := g.Apply(file("b", "/four"), agent); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, counting{built: 4, closed: 3, keptBuilt: 2, keptClosed: 1})
}

func TestNoRoute(t *testing.T) {
	g := airsidetest.Start(t, "routes: [{ path: /a, method: [GET, PUT], to: '$1' }]\n", airsidetest.Upstream(t, airsidetest.Echo))
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/a", 200, ""}, {"POST", "/a", 405, "GET, PUT"}, {"GET", "/b", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, g.URL(airsidetest.H1, tt.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.Client(airsidetest.H1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status || resp.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: got %d, allow %q, want %d, %q", tt.method, tt.path, resp.StatusCode, resp.Header.Get("Allow"), tt.status, tt.allow)
		}
	}
}

func TestStripAndParameters(t *testing.T) {
	g := airsidetest.Start(t, `
upstreams: { agent: { http: { url: '$1/base' } } }
routes:
  - { path: /agent/*, strip: /agent, to: agent }
  - { path: "/patients/{id}/record", use: [{ headers: { request: { set: { X-Route: "set" } } } }], to: agent }
`, airsidetest.Upstream(t, airsidetest.Echo))
	for path, want := range map[string]string{
		"/agent/x?y=1": "/base/x?y=1", "/agent": "/base/", "/agent/": "/base/", "/agent/a%20b,c": "/base/a%20b,c", "/agent/agent/x": "/base/agent/x",
		"/patients/p-1/record": "/base/patients/p-1/record",
	} {
		resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, path))
		if err != nil {
			t.Fatal(err)
		}
		var seen airsidetest.Seen
		err = json.NewDecoder(resp.Body).Decode(&seen)
		resp.Body.Close()
		if err != nil || seen.URI != want {
			t.Errorf("%s reached the agent as %q, %v, want %q", path, seen.URI, err, want)
		}
	}
}

func TestRedirect(t *testing.T) {
	g := airsidetest.Start(t, `
admin: off
listen:
  - { address: "127.0.0.1:0", redirect: https }
  - { address: "localhost:0", tls: { self_signed: true } }
routes: [{ path: /*, to: '$1' }]
`, airsidetest.Upstream(t, airsidetest.Echo))
	resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, "/a%20b?c"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != "https://127.0.0.1/a%20b?c" {
		t.Errorf("got %d to %q", resp.StatusCode, got)
	}
}

func TestWebSocket(t *testing.T) {
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, append([]byte("re: "), b...)); err != nil {
				return
			}
		}
	})
	g := airsidetest.Start(t, "upstreams: { chat: { http: { url: '$1', host: preserve } } }\nroutes: [{ path: /*, to: chat }]\n", agent)
	c, resp, err := websocket.Dial(t.Context(), "ws://"+g.Addr+"/chat", nil)
	if err != nil {
		t.Fatalf("%v %v", resp, err)
	}
	defer c.CloseNow()
	for i := range 100 {
		want := fmt.Sprintf("message %d %s", i, strings.Repeat("x", i*100))
		if err := c.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "re: "+want {
			t.Fatalf("message %d: got %d bytes, %v", i, len(got), err)
		}
	}
	c.Close(websocket.StatusNormalClosure, "")
}

// Secrets of a configuration are in no dump, log or answer.
func TestSecretsStayIn(t *testing.T) {
	t.Setenv("AIRSIDE_TEST_KEY", "canary-key-0123456789abcdef")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("canary-token-0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := airsidetest.Start(t, fmt.Sprintf(`
policies: { staff: { apikey: { keys: { ward: "${env:AIRSIDE_TEST_KEY}", other: canary-literal-0123456789abcdef } } } }
routes:
  - { path: /*, use: [staff, { headers: { request: { set: { Authorization: "Bearer ${file:%s/token}" } } } }], to: '$1' }
`, dir), airsidetest.Upstream(t, airsidetest.Echo))
	for _, key := range []string{"canary-key-0123456789abcdef", "canary-literal-0123456789abcdef", "canary-wrong-0123456789abcdef"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", g.URL(airsidetest.H1, "/x?q=canary-query"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		resp, err := g.Client(airsidetest.H1).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == 200 {
			var seen airsidetest.Seen
			if err := json.Unmarshal(b, &seen); err != nil {
				t.Fatal(err)
			}
			if got := seen.Header.Get("Authorization"); got != "Bearer canary-token-0123456789abcdef" || seen.Header.Get("X-Api-Key") != "" {
				t.Errorf("the agent saw authorization %q and key %q", got, seen.Header.Get("X-Api-Key"))
			}
		} else if strings.Contains(string(b), "canary") {
			t.Errorf("the answer tells a secret: %s", b)
		}
	}
	g.WaitExchange(func(l airsidetest.Line) bool { return l["status"] == 401.0 })
	for where, text := range map[string]string{"the dump": string(g.App.Config().Dump()), "the log": g.Log()} {
		s := bufio.NewScanner(strings.NewReader(text))
		for s.Scan() {
			if strings.Contains(s.Text(), "canary") {
				t.Errorf("%s tells a secret: %s", where, s.Text())
			}
		}
	}
}
