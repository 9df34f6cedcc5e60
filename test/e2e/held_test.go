package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

// TestBodyHeldByTransport proves that an exchange is not used again, or spoiled, while
// the engine on net/http may still read or close its request body: that of HTTP/2
// closes it when the answer has ended, on a goroutine of its own.
func TestBodyHeldByTransport(t *testing.T) {
	agent := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			_, _ = io.Copy(w, r.Body)
		}
	}))
	agent.Config.Protocols = new(http.Protocols)
	agent.Config.Protocols.SetUnencryptedHTTP2(true)
	agent.Start()
	t.Cleanup(agent.Close)
	hasty := airsidetest.Upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // whoever sends the body finds out later
		if r.URL.Path == "/read" {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}
	})
	g := airsidetest.Start(t, `
upstreams:
  a: { http: { url: $1, protocol: h2c } }
  b: { http: { url: $2, engine: std } }
routes:
  - { path: /h1/*, strip: /h1, to: b }
  - { path: /*, to: a }
`, agent.URL, hasty)
	body := strings.Repeat("x", 1<<10)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := g.Client(airsidetest.H1)
			for _, path := range []string{"/early", "/read", "/h1/early", "/h1/read"} {
				for range 100 {
					resp, err := c.Post(g.URL(airsidetest.H1, path), "text/plain", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK || strings.HasSuffix(path, "/read") && string(got) != body {
						t.Errorf("%s: got %d, %d bytes, %v", path, resp.StatusCode, len(got), err)
					}
				}
			}
		})
	}
	all.Wait()
}
