package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// Clients of an upstream that hedges get their own answers, whoever is faster, though the
// memory of exchanges is spoiled as soon as it might be used again; the agents see each
// request whole, and those that may not be repeated once.
func TestHedgedExchanges(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			l := &ledger{}
			var n, torn atomic.Int64
			agent := func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err == nil && (string(b) != r.Header.Get("X-Body") || r.Header.Get("X-Path") != r.URL.Path) {
					torn.Add(1)
				}
				l.enter(r.URL.Path, "agent")
				pause(r.Context(), time.Duration(n.Add(1)%5)*time.Millisecond)
				fmt.Fprintf(w, "did %s of %s", b, r.URL.Path)
			}
			g := airsidetest.Start(t, fmt.Sprintf(`
upstreams:
  agent: { http: { endpoints: ['$1', '$2', '$3'], engine: %s, hedge: { after: 2ms, max: 2, budget: 1 } } }
routes: [{ path: /*, to: agent }]
`, engine), airsidetest.Upstream(t, agent), airsidetest.Upstream(t, agent), airsidetest.Upstream(t, agent))
			var clients sync.WaitGroup
			for _, m := range []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std, airsidetest.H2C, airsidetest.H2} {
				for c := range 3 {
					client := g.Client(m)
					clients.Go(func() {
						for i := range 60 {
							method := []string{"PUT", "GET", "POST"}[i%3]
							path := fmt.Sprintf("/%s/%d/%s/%d", m, c, method, i)
							hedgeOnce(t, client, method, g.URL(m, path), path)
						}
					})
				}
			}
			clients.Wait()
			hedges := int64(0)
			for id := range l.n {
				all, _ := l.of(id, "")
				if strings.Contains(id, "/POST/") && all != 1 {
					t.Errorf("%s was carried out %d times", id, all)
				}
				hedges += int64(all - 1)
			}
			if torn.Load() > 0 || hedges == 0 {
				t.Errorf("%d requests were torn, %d were sent again", torn.Load(), hedges)
			}
		})
	}
}

func hedgeOnce(t *testing.T, client *http.Client, method, url, path string) {
	body := ""
	if method != http.MethodGet {
		body = strings.Repeat(path+" ", 50) + "."
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("X-Body", body)
	req.Header.Set("X-Path", path)
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if want := "did " + body + " of " + path; err != nil || string(got) != want {
		t.Errorf("%s: got %.80q, %v", path, got, err)
	}
}
