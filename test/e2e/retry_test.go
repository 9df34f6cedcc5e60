package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

// Policies behind a retry see each try as if it were the first.
func TestRetryBeforePoliciesThatChange(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	agent := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.URL.Path+" "+strings.TrimSpace(string(b))+" "+strings.Join(r.Header["X-Tag"], ","))
		if len(seen) < 3 {
			w.WriteHeader(503)
		}
	})
	g := airsidetest.Start(t, `
routes:
  - path: /agent/*
    strip: /agent
    use:
      - retry: { attempts: 3, backoff: 1ms }
      - transform: { request: '{n: (.n + 1)}' }
      - headers: { request: { add: { X-Tag: tag } } }
      - rewrite: { prefix: { from: /agent, to: /agent/v1 } }
    to: '$1'
`, agent)
	req, err := http.NewRequestWithContext(t.Context(), "PUT", g.URL(airsidetest.H1, "/agent/x"), strings.NewReader(`{"n": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.Client(airsidetest.H1).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := `/v1/x {"n":2} tag`
	if resp.StatusCode != 200 || strings.Join(seen, "|") != strings.Join([]string{want, want, want}, "|") {
		t.Errorf("got %d, the agent saw %q, want %q three times", resp.StatusCode, seen, want)
	}
}
